package userns

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

const last = 1<<32 - 2 // the last id; 2^32-1 means "no id" (user_namespaces(7))

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestMapString(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    Map
		want string
	}{
		{"none", nil, ""},
		{"one line", Self(0, 1000), "0 1000 1"},
		{"lines have no newline at the end", Map{{0, 100000, 1000}, {1000, 1000, 1}}, "0 100000 1000\n1000 1000 1"},
		{"largest numbers", Map{{last, last, 1}, {0, 1, last}}, "4294967294 4294967294 1\n0 1 4294967294"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.m.String(); got != tt.want {
				t.Errorf("String() = %q, want %q", got, tt.want)
			}
		})
	}
	if got := (Extent{1, 2, 3}).String(); got != "1:2:3" {
		t.Errorf("Extent.String() = %q", got)
	}
}

func TestValidate(t *testing.T) {
	many := func(n int) (m Map) {
		for i := range uint32(n) {
			m = append(m, Extent{2 * i, 2*i + 1000, 1})
		}
		return m
	}
	for _, tt := range []struct {
		name string
		m    Map
		want string
	}{
		{"one line", Self(0, 1000), ""},
		{"the last id", Self(last, last), ""},
		{"all ids", Map{{0, 0, last + 1}}, ""},
		{"neighbours", Map{{0, 10, 10}, {10, 20, 10}, {20, 0, 10}}, ""},
		{"as many lines as the kernel takes", many(MaxExtents), ""},
		{"empty", nil, "the id map is empty"},
		{"too many lines", many(MaxExtents + 1), "the id map has 341 lines, the kernel takes 340"},
		{"no ids", Map{{7, 8, 0}}, "7:8:0 maps no ids"},
		{"the invalid id inside", Self(last+1, 0), "4294967295:0:1 goes beyond the last id 4294967294"},
		{"the invalid id outside", Self(0, last+1), "0:4294967295:1 goes beyond the last id 4294967294"},
		{"overflow inside", Map{{last, 0, 2}}, "4294967294:0:2 goes beyond the last id 4294967294"},
		{"wraps around", Map{{5, 0, last + 1}}, "5:0:4294967295 goes beyond the last id 4294967294"},
		{"overlap inside", Map{{0, 0, 10}, {9, 100, 1}}, "0:0:10 and 9:100:1 overlap inside"},
		{"overlap outside", Map{{0, 0, 10}, {100, 9, 1}}, "0:0:10 and 100:9:1 overlap outside"},
		{
			"every fault at once", Map{{0, 0, 10}, {3, 4, 0}, {last, 0, 2}, {0, 0, 10}},
			"3:4:0 maps no ids\n4294967294:0:2 goes beyond the last id 4294967294\n" +
				"0:0:10 and 0:0:10 overlap inside\n0:0:10 and 0:0:10 overlap outside",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := message(tt.m.Validate()); got != tt.want {
				t.Errorf("Validate() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTranslate(t *testing.T) {
	m := Map{{0, 100000, 1000}, {1000, 1000, 1}, {1001, 101000, 64535}, {last, last, 1}}
	for _, tt := range []struct {
		name            string
		inside, outside uint32
		ok              bool
	}{
		{"first of the first", 0, 100000, true},
		{"last of the first", 999, 100999, true},
		{"own", 1000, 1000, true},
		{"first after own", 1001, 101000, true},
		{"last of all", 65535, 165534, true},
		{"the last id", last, last, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := m.Outside(tt.inside); got != tt.outside || ok != tt.ok {
				t.Errorf("Outside(%d) = %d, %v", tt.inside, got, ok)
			}
			if got, ok := m.Inside(tt.outside); got != tt.inside || ok != tt.ok {
				t.Errorf("Inside(%d) = %d, %v", tt.outside, got, ok)
			}
		})
	}
	for _, id := range []uint32{65536, last - 1, last + 1} {
		if got, ok := m.Outside(id); got != 0 || ok {
			t.Errorf("Outside(%d) = %d, %v, want none", id, got, ok)
		}
	}
	for _, id := range []uint32{0, 999, 1001, 99999, 165535, last + 1} {
		if got, ok := m.Inside(id); got != 0 || ok {
			t.Errorf("Inside(%d) = %d, %v, want none", id, got, ok)
		}
	}
}

func TestIdentity(t *testing.T) {
	for _, tt := range []struct {
		name    string
		m, want Map
	}{
		{"none", nil, Map{}},
		{"one", Self(0, 1000), Map{{0, 0, 1}}},
		{"extents stay apart", Keep(1, Range{100, 2}), Map{{0, 0, 1}, {1, 1, 1}, {2, 2, 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.m.Identity(); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Identity() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestIsSelf(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    Map
		own  uint32
		want bool
	}{
		{"own id", Self(1000, 1000), 1000, true},
		{"own id under another number", Self(0, 1000), 1000, true},
		{"another's id", Self(1000, 1001), 1000, false},
		{"two ids", Map{{0, 1000, 2}}, 1000, false},
		{"two lines", Map{{0, 1000, 1}, {1, 1001, 1}}, 1000, false},
		{"none", nil, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.m.IsSelf(tt.own); got != tt.want {
				t.Errorf("IsSelf(%d) = %v", tt.own, got)
			}
		})
	}
}

var layouts = []struct {
	name       string
	own        uint32
	sub        Range
	keep, root Map
}{
	{
		"own id inside the count", 1000, Range{100000, 65536},
		Map{{0, 100000, 1000}, {1000, 1000, 1}, {1001, 101000, 64536}},
		Map{{0, 1000, 1}, {1, 100000, 65536}},
	},
	{
		"own id 0", 0, Range{100000, 65536},
		Map{{0, 0, 1}, {1, 100000, 65536}},
		Map{{0, 0, 1}, {1, 100000, 65536}},
	},
	{
		"own id just beyond the count", 65536, Range{100000, 65536},
		Map{{0, 100000, 65536}, {65536, 65536, 1}},
		Map{{0, 65536, 1}, {1, 100000, 65536}},
	},
	{
		"own id the last of the count", 65535, Range{100000, 65536},
		Map{{0, 100000, 65535}, {65535, 65535, 1}, {65536, 165535, 1}},
		Map{{0, 65535, 1}, {1, 100000, 65536}},
	},
	{
		"one id", 1000, Range{100000, 1},
		Map{{0, 100000, 1}, {1000, 1000, 1}},
		Map{{0, 1000, 1}, {1, 100000, 1}},
	},
	{
		"one id and own id 0", 0, Range{1, 1},
		Map{{0, 0, 1}, {1, 1, 1}},
		Map{{0, 0, 1}, {1, 1, 1}},
	},
	{
		"own id is the last there is", last, Range{1, 65536},
		Map{{0, 1, 65536}, {last, last, 1}},
		Map{{0, last, 1}, {1, 1, 65536}},
	},
	{
		"all ids but 0", 0, Range{1, last},
		Map{{0, 0, 1}, {1, 1, last}},
		Map{{0, 0, 1}, {1, 1, last}},
	},
	{
		"all ids but 0 and the last", last, Range{1, last - 1},
		Map{{0, 1, last - 1}, {last, last, 1}},
		Map{{0, last, 1}, {1, 1, last - 1}},
	},
}

// TestLayouts: whatever the caller's id, a layout is a valid map that holds it
// and each id of the grant once.
func TestLayouts(t *testing.T) {
	for _, tt := range layouts {
		t.Run(tt.name, func(t *testing.T) {
			keep, root := Keep(tt.own, tt.sub), Root(tt.own, tt.sub)
			if !slices.Equal(keep, tt.keep) {
				t.Errorf("Keep = %v, want %v", keep, tt.keep)
			}
			if !slices.Equal(root, tt.root) {
				t.Errorf("Root = %v, want %v", root, tt.root)
			}
			checkLayout(t, keep, tt.own, tt.own, tt.sub)
			checkLayout(t, root, 0, tt.own, tt.sub)
		})
	}
}

func checkLayout(t *testing.T, m Map, inside, own uint32, sub Range) {
	t.Helper()
	if err := m.Validate(); err != nil {
		t.Errorf("%v: %v", m, err)
	}
	if got, ok := m.Inside(own); !ok || got != inside {
		t.Errorf("%v: own id %d is %d, %v inside, want %d", m, own, got, ok, inside)
	}
	if n := count(m); n != uint64(sub.Count)+1 {
		t.Errorf("%v maps %d ids, want %d", m, n, uint64(sub.Count)+1)
	}
	for _, id := range []uint32{sub.Start, sub.Start + sub.Count/2, sub.Start + sub.Count - 1} {
		if _, ok := m.Inside(id); !ok {
			t.Errorf("%v leaves out the granted id %d", m, id)
		}
	}
}

// FuzzMap: a valid map translates each id there and back again, and prints as
// what it is.
func FuzzMap(f *testing.F) {
	f.Add(uint32(0), uint32(1000), uint32(1), uint32(1), uint32(100000), uint32(65536), uint32(1000))
	f.Add(uint32(0), uint32(0), uint32(last+1), uint32(0), uint32(0), uint32(0), uint32(last))
	f.Add(uint32(last), uint32(last), uint32(2), uint32(5), uint32(5), uint32(last+1), uint32(last+1))
	f.Add(uint32(10), uint32(20), uint32(10), uint32(20), uint32(10), uint32(10), uint32(19))
	f.Fuzz(func(t *testing.T, in1, out1, n1, in2, out2, n2, x uint32) {
		m := Map{{in1, out1, n1}}
		if n2 > 0 {
			m = append(m, Extent{in2, out2, n2})
		}
		if m.Validate() != nil {
			return
		}
		if err := m.Identity().Validate(); err != nil {
			t.Errorf("%v is valid, its identity is not: %v", m, err)
		}
		if out, ok := m.Outside(x); ok {
			if in, ok := m.Inside(out); !ok || in != x {
				t.Errorf("%v: Inside(Outside(%d)) = %d, %v", m, x, in, ok)
			}
		}
		if in, ok := m.Inside(x); ok {
			if out, ok := m.Outside(in); !ok || out != x {
				t.Errorf("%v: Outside(Inside(%d)) = %d, %v", m, x, out, ok)
			}
		}
		if lines := strings.Split(m.String(), "\n"); len(lines) != len(m) {
			t.Errorf("%q has %d lines, want %d", m.String(), len(lines), len(m))
		}
	})
}
