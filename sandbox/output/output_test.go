package output

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func create(t *testing.T, most int64) (*Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "output.log")
	w, err := Create(path, most)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w, path
}

func all(t *testing.T, r *Reader) (text string) {
	t.Helper()
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return text
		}
		if err != nil {
			t.Fatal(err)
		}
		text += string(byte(l.Stream)) + ":" + string(l.Text)
		if l.Whole {
			text += "\n"
		} else {
			text += "|"
		}
	}
}

func read(t *testing.T, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestLines(t *testing.T) {
	w, path := create(t, 1<<20)
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600))
	w.Write(Stdout, []byte("one\ntw"), now)
	w.Write(Stderr, []byte("err\n\n"), now)
	w.Write(Stdout, []byte("o\n\x1b]0;\xff\x00 \r\nprompt> "), now)
	if got, want := all(t, read(t, path)), "o:one\ne:err\ne:\no:two\no:\x1b]0;\xff\x00 \r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	w.Flush(now)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(text, []byte("2026-01-02T02:04:05.000000006Z stdout F one\n")) || !bytes.HasSuffix(text, []byte("stdout P prompt> \n")) {
		t.Errorf("the file is %q", text)
	}
}

func TestLongLine(t *testing.T) {
	w, path := create(t, 1<<20)
	long := strings.Repeat("x", 2*longest+5)
	w.Write(Stdout, []byte(long+"\n"), time.Now())
	got := all(t, read(t, path))
	if strings.Count(got, "|") != 2 || strings.ReplaceAll(strings.ReplaceAll(got, "|", ""), "o:", "") != long+"\n" {
		t.Errorf("%d bytes in %d parts", len(got), strings.Count(got, "|"))
	}
}

// A command that writes without end takes no more room than it may.
func TestBounded(t *testing.T) {
	const most = 64 << 10
	for _, c := range []struct {
		name  string
		line  int // bytes of one with its end
		lines int // that are written at once
	}{
		{"lines", 1000, 1},
		{"empty lines", 1, 64 << 10},
		{"long lines", 100 << 10, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, path := create(t, most)
			text := bytes.Repeat(append(bytes.Repeat([]byte("y"), c.line-1), '\n'), c.lines)
			for range 1 + 4*most/len(text) {
				w.Write(Stdout, text, time.Now())
				size := int64(0)
				for _, p := range []string{path, path + Older} {
					if st, err := os.Stat(p); err == nil {
						size += st.Size()
					}
				}
				if size > most {
					t.Fatalf("the log has %d bytes", size)
				}
			}
			if st, err := os.Stat(path + Older); err != nil || st.Size() < most/2-longest-100 {
				t.Errorf("the older half was left before it was full: %v", err)
			}
		})
	}
}

// A reader that follows misses nothing of what it keeps up with.
func TestFollow(t *testing.T) {
	w, path := create(t, 8<<10)
	r := read(t, path)
	got := ""
	for i := range 500 {
		w.Write(Stdout, fmt.Appendf(nil, "line %d of some length\n", i), time.Now())
		if i%7 == 0 {
			got += all(t, r)
		}
	}
	got += all(t, r)
	for i := range 500 {
		if !strings.Contains(got, fmt.Sprintf("o:line %d of", i)) {
			t.Fatalf("line %d is missing", i)
		}
	}
}

// What is written just before a file is turned is read, at whatever moment of it the
// reader looks for more.
func TestFollowTurns(t *testing.T) {
	w, path := create(t, 2<<10)
	r := read(t, path)
	line := strings.Repeat("x", 300) + "\n"
	var seen atomic.Int64
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			_, err := r.Next()
			switch {
			case err == nil:
				seen.Add(1)
			case !errors.Is(err, io.EOF):
				t.Error(err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	defer reader.Wait()
	defer close(stop)
	for i := int64(1); i <= 200; i++ {
		// A file takes three of them.
		w.Write(Stdout, []byte(line), time.Now())
		w.Write(Stdout, []byte(line), time.Now())
		for begun := time.Now(); seen.Load() < 2*i; time.Sleep(20 * time.Microsecond) {
			if time.Since(begun) > 5*time.Second {
				t.Fatalf("of %d lines %d were read", 2*i, seen.Load())
			}
		}
	}
}

func TestTail(t *testing.T) {
	w, path := create(t, 1<<20)
	for i := range 10 {
		w.Write(Stdout, fmt.Appendf(nil, "%d\n", i), time.Now())
	}
	w.Write(Stdout, []byte("part"), time.Now())
	w.Flush(time.Now())
	for n, want := range map[int]string{0: "", 2: "89part", 100: "0123456789part"} {
		lines, err := read(t, path).Tail(n)
		got := ""
		for _, l := range lines {
			got += string(l.Text)
		}
		if err != nil || got != want {
			t.Errorf("the last %d: %q, %v, want %q", n, got, err, want)
		}
	}
}

// Without room the output is lost, and said to be, and that is all.
func TestFull(t *testing.T) {
	w, err := Create("/dev/full", 1<<20)
	if err != nil {
		t.Skip(err)
	}
	w.Write(Stdout, []byte("lost\n"), time.Now())
	if w.Err == nil || w.Dropped == 0 {
		t.Errorf("%d bytes dropped, %v", w.Dropped, w.Err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-01-02T02:04:05.000000006Z stdout F one"))
	f.Add([]byte("2026-01-02T02:04:05Z stderr P "))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = parse(b) })
}
