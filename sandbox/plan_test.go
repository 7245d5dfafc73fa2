package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// fill gives every field below v a value of its own that is not zero.
func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	a := netip.AddrFrom4([4]byte{10, 0, 0, byte(*n)})
	switch v.Interface().(type) { // whose fields are their own
	case netip.Addr:
		v.Set(reflect.ValueOf(a))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.AddrPortFrom(a, uint16(*n))))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(a, 32)))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(*n))
	case reflect.Uint64:
		v.SetUint(-uint64(*n)) // limits may be infinite, which no float holds
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), n)
		fill(t, v.Index(1), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	default: // a pointer, map or interface would be live state
		t.Fatalf("a Plan holds a %s", v.Type())
	}
}

func TestPlanRoundTrip(t *testing.T) {
	var full sandbox.Plan
	n := 0
	fill(t, reflect.ValueOf(&full).Elem(), &n)
	for _, tt := range []struct {
		name string
		plan sandbox.Plan
	}{
		{"every field", full},
		{"zero", sandbox.Plan{}},
		{"valid", valid()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := json.Marshal(tt.plan)
			if err != nil {
				t.Fatal(err)
			}
			var got sandbox.Plan
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.plan) {
				t.Errorf("a round trip changed\n%+v\ninto\n%+v", tt.plan, got)
			}
		})
	}
}

func TestShape(t *testing.T) {
	one, two := [3]bool{true, false, true}, [3]bool{false, true, false}
	for _, tt := range []struct {
		name   string
		change func(*sandbox.Plan)
		want   sandbox.Shape
	}{
		{"single", func(p *sandbox.Plan) {}, sandbox.Shape{}},
		{"range", func(p *sandbox.Plan) { p.IDs.Mode = "range" }, sandbox.Shape{Range: true}},
		{
			"namespaces", func(p *sandbox.Plan) { p.Namespaces = sandbox.Namespaces{IPC: true, Time: true, Boottime: -1} },
			sandbox.Shape{Namespaces: sandbox.Namespaces{IPC: true, Time: true, Boottime: -1}},
		},
		{
			"streams", func(p *sandbox.Plan) { p.Process.Terminal, p.Process.Pipe = one, two },
			sandbox.Shape{Terminal: one, Pipe: two},
		},
		{
			"the rest is none of it", func(p *sandbox.Plan) { p.Process.Argv, p.Hostname, p.Name = []string{"x"}, "h", "n" },
			sandbox.Shape{},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := sandbox.Plan{IDs: sandbox.IDs{Mode: "single"}}
			tt.change(&p)
			if got := p.Shape(); got != tt.want {
				t.Errorf("Shape() = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	names := map[string]bool{}
	for _, c := range sandbox.FakeRoot() {
		if c < 0 || c > sandbox.LastCapability || names[c.String()] {
			t.Errorf("capability %d, %s", int(c), c)
		}
		names[c.String()] = true
	}
	if got := sandbox.CapSetpcap.String(); got != "SETPCAP" {
		t.Errorf("CapSetpcap is %q", got)
	}
	if got := sandbox.Capability(21).String(); got != "CAP_21" {
		t.Errorf("capability 21 is %q", got)
	}
	for _, reaches := range []sandbox.Capability{12, 21, 19, 39} { // NET_ADMIN, SYS_ADMIN, SYS_PTRACE, BPF
		if slices.Contains(sandbox.FakeRoot(), reaches) {
			t.Errorf("fake root keeps %s", reaches)
		}
	}
}
