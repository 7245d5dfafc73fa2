package userns

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseSubids(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []Range
		err        string
	}{
		{"nothing", "", nil, ""},
		{"by name", "dev:100000:65536\n", []Range{{100000, 65536}}, ""},
		{"by uid", "1000:100000:65536\n", []Range{{100000, 65536}}, ""},
		{"both, in the file's order", "1000:300000:5\ndev:100000:65536\n", []Range{{300000, 5}, {100000, 65536}}, ""},
		{"no newline at the end", "dev:100000:65536", []Range{{100000, 65536}}, ""},
		{"the name is all of the field", "devel:1:1\nde:1:1\n10000:1:1\n:1:1\n", nil, ""},
		{"comments and empty lines", "# dev:1:1\n\n#dev:1:1\ndev:5:6\n", []Range{{5, 6}}, ""},
		{"others' lines are not judged", "root\nalice:x:y\nbob:1:2:3:4\n:\n::\ndev:5:6\n", []Range{{5, 6}}, ""},
		{"no ids", "dev:100000:0\n", nil, ""},
		{"no ids from 0", "dev:0:0\ndev:5:6\n", []Range{{5, 6}}, ""},
		{"the last id", "dev:4294967294:1\n", []Range{{last, 1}}, ""},
		{"all but 0", "dev:1:4294967294\n", []Range{{1, last}}, ""},
		{"no count", "dev:100000\n", nil, `line 1: "100000" is not START:COUNT`},
		{"a name alone", "dev\ndev:5:6\n", []Range{{5, 6}}, ""},
		{"the line's number", "# first\n\ndev:x:1\n", nil, `line 3: start "x" is not an id`},
		{"negative", "dev:-1:1\n", nil, `line 1: start "-1" is not an id`},
		{"start too large", "dev:4294967296:1\n", nil, `line 1: start "4294967296" is not an id`},
		{"count too large", "dev:1:4294967296\n", nil, `line 1: count "4294967296" is not a number of ids`},
		{"count is a word", "dev:1:many\n", nil, `line 1: count "many" is not a number of ids`},
		{"too many fields", "dev:1:2:3\n", nil, `line 1: count "2:3" is not a number of ids`},
		{"a space", "dev:1: 2\n", nil, `line 1: count " 2" is not a number of ids`},
		{"root's id", "dev:0:10\n", nil, "line 1: a range that holds id 0 is not subordinate"},
		{"beyond the last id", "dev:4294967294:2\n", nil, "line 1: 4294967294:2 goes beyond the last id"},
		{"wraps around", "dev:4294967295:4294967295\n", nil, "line 1: 4294967295:4294967295 goes beyond the last id"},
		{"a fault after a grant", "dev:5:6\ndev:5:x\n", nil, `line 2: count "x" is not a number of ids`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseSubids(strings.NewReader(tt.text), "dev", 1000)
			if message(err) != tt.err || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseSubids = %v, %q, want %v, %q", got, message(err), tt.want, tt.err)
			}
		})
	}
}

// lines is n times the same line.
type lines struct {
	line string
	n    int
	rest string
}

func (l *lines) Read(b []byte) (int, error) {
	for len(l.rest) < len(b) && l.n > 0 {
		l.rest += strings.Repeat(l.line, min(l.n, 4096))
		l.n -= min(l.n, 4096)
	}
	if l.rest == "" {
		return 0, io.EOF
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func TestParseSubidsHuge(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    io.Reader
		want []Range
		err  string
	}{
		{"as many lines as are read", &lines{line: "x:1:1\n", n: maxSubidLines}, nil, ""},
		{"more", &lines{line: "x:1:1\n", n: maxSubidLines + 1}, nil, "more than 1048576 lines"},
		{"without end", &lines{line: "x:1:1\n", n: 1 << 40}, nil, "more than 1048576 lines"},
		{"one line without end", &lines{line: "x", n: 1 << 40}, nil, "bufio.Scanner: token too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseSubids(tt.r, "dev", 1000)
			if message(err) != tt.err || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseSubids = %v, %q, want %v, %q", got, message(err), tt.want, tt.err)
			}
		})
	}
}

func TestLargest(t *testing.T) {
	for _, tt := range []struct {
		name   string
		grants []Range
		want   Range
		ok     bool
	}{
		{"none", nil, Range{}, false},
		{"without ids", []Range{{5, 0}}, Range{}, false},
		{"the most ids", []Range{{1, 2}, {10, 3}, {20, 1}}, Range{10, 3}, true},
		{"the first of equals", []Range{{10, 3}, {20, 3}}, Range{10, 3}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := Largest(tt.grants); got != tt.want || ok != tt.ok {
				t.Errorf("Largest = %v, %v, want %v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestGrants(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "subuid"), filepath.Join(dir, "subgid")
	for file, text := range map[string]string{good: "dev:5:6\n", bad: "alice:1:2\ndev:5\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, path string
		want       []Range
		err        string
	}{
		{"there", good, []Range{{5, 6}}, ""},
		{"a missing file grants nothing", filepath.Join(dir, "none"), nil, ""},
		{"a fault names the file", bad, nil, bad + `: line 2: "5" is not START:COUNT`},
		{"no file", filepath.Join(good, "x"), nil, "open " + good + "/x: not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Grants(tt.path, "dev", 1000)
			if message(err) != tt.err || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Grants = %v, %q, want %v, %q", got, message(err), tt.want, tt.err)
			}
		})
	}
}

// FuzzParseSubids: no text makes it panic, every grant can be laid out as a
// map, and lines of others change nothing.
func FuzzParseSubids(f *testing.F) {
	for _, s := range []string{
		"", "dev:100000:65536\n", "1000:1:1\ndev:2:3", "#\n:::\ndev:1:2:3\n", "dev:0:0\n", "dev:4294967294:2\n", "dev\x00:1:1\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseSubids(strings.NewReader(text), "dev", 1000)
		if err != nil && got != nil {
			t.Errorf("%v beside the error %v", got, err)
		}
		for _, g := range got {
			if err := Root(0, g).Validate(); err != nil || g.Start == 0 {
				t.Errorf("grant %v: %v", g, err)
			}
		}
		again, err2 := ParseSubids(strings.NewReader("alice:1:x\n"+text), "dev", 1000)
		if (err == nil) != (err2 == nil) || !reflect.DeepEqual(got, again) {
			t.Errorf("with another's line: %v, %v, without: %v, %v", again, err2, got, err)
		}
	})
}
