package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// origin is a server of one blob that counts what it is asked for.
type origin struct {
	*httptest.Server
	mu     sync.Mutex
	text   []byte
	busy   sync.WaitGroup // requests being answered: who was sent all may ask before that is counted
	asked  []string       // Range of each request
	sent   int64
	answer func(o *origin, w http.ResponseWriter, r *http.Request)
}

func serve(t *testing.T, text []byte) *origin {
	t.Helper()
	o := &origin{text: text, answer: honest}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.asked = append(o.asked, r.Header.Get("Range"))
		answer := o.answer
		o.busy.Add(1)
		o.mu.Unlock()
		defer o.busy.Done()
		answer(o, w, r)
	}))
	t.Cleanup(o.Close)
	return o
}

// become changes how the server answers, and forgets what was asked.
func (o *origin) become(answer func(*origin, http.ResponseWriter, *http.Request)) {
	o.busy.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer, o.asked, o.sent = answer, nil, 0
}

func (o *origin) seen() (asked []string, sent int64) {
	o.busy.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked, o.sent
}

// send sends bytes, and hangs up early if it is told to.
func (o *origin) send(w http.ResponseWriter, b []byte, n int) {
	n = min(n, len(b))
	m, _ := w.Write(b[:n]) // who hung up is another matter
	o.mu.Lock()
	o.sent += int64(m)
	o.mu.Unlock()
	if n < len(b) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// asked is where the part begins that a request is for.
func from(r *http.Request) (at int) {
	_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at)
	return at
}

func part206(o *origin, w http.ResponseWriter, b []byte, said string, n int) {
	w.Header().Set("Content-Range", said)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	w.WriteHeader(http.StatusPartialContent)
	o.send(w, b, n)
}

func whole200(o *origin, w http.ResponseWriter, b []byte, n int) {
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	o.send(w, b, n)
}

// upTo answers as it should, and hangs up after n bytes.
func upTo(n int) func(o *origin, w http.ResponseWriter, r *http.Request) {
	return func(o *origin, w http.ResponseWriter, r *http.Request) {
		if at := from(r); r.Header.Get("Range") != "" {
			part206(o, w, o.text[at:], fmt.Sprintf("bytes %d-%d/%d", at, len(o.text)-1, len(o.text)), n)
			return
		}
		whole200(o, w, o.text, n)
	}
}

var honest = upTo(1 << 40)

const size = 1 << 20

// blob are bytes that compress to nothing smaller.
func blob() []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

type notes struct {
	mu   sync.Mutex
	text strings.Builder
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(&n.text, format+"\n", args...)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// fetch reads the blob and lets go of it as a pull does.
func fetch(ctx context.Context, o *origin, keep string, n *notes) ([]byte, error) {
	r, err := Open(ctx, Blob{Client: o.Client(), URL: o.URL, Digest: digest.FromBytes(o.text), Size: int64(len(o.text)), Keep: keep, Pause: time.Millisecond, Note: n.note})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err == nil || !Broke(err) && ctx.Err() == nil {
		r.Drop()
	}
	return b, err
}

func kept(t *testing.T, dir string) (names []string, bytes int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		names, bytes = append(names, e.Name()), bytes+st.Size()
	}
	return names, bytes
}

// interrupted leaves the beginning of the blob, as a pull does that gave up.
func interrupted(t *testing.T, o *origin) (dir string, have int64) {
	t.Helper()
	dir = t.TempDir()
	tries := 0
	o.become(func(o *origin, w http.ResponseWriter, r *http.Request) {
		if tries++; tries == 1 {
			upTo(size/3)(o, w, r)
		}
		panic(http.ErrAbortHandler)
	})
	if b, err := fetch(t.Context(), o, dir, &notes{}); err == nil || !Broke(err) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	_, have = kept(t, dir)
	if have == 0 || have > size/3 {
		t.Fatalf("%d bytes are kept", have)
	}
	return dir, have
}

// TestResume: the second attempt asks for what is missing, and takes it from
// whatever the server makes of that.
func TestResume(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(o *origin, w http.ResponseWriter, r *http.Request)
		asks   int
		all    bool // all is sent again
		note   string
	}{
		{"honest", honest, 1, false, "going on after"},
		{"no ranges", func(o *origin, w http.ResponseWriter, _ *http.Request) { whole200(o, w, o.text, size) }, 1, true, "gives no part"},
		{"no ranges, and says so", func(o *origin, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				http.Error(w, "no", http.StatusRequestedRangeNotSatisfiable)
				return
			}
			whole200(o, w, o.text, size)
		}, 2, true, "gives no part"},
		{"another part", func(o *origin, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				part206(o, w, o.text[5:], fmt.Sprintf("bytes 5-%d/%d", size-1, size), 0)
				return
			}
			whole200(o, w, o.text, size)
		}, 2, true, "fetching all"},
		{"a part that says nothing", func(o *origin, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				part206(o, w, o.text[5:], "", 0)
				return
			}
			whole200(o, w, o.text, size)
		}, 2, true, "fetching all"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := serve(t, blob())
			dir, have := interrupted(t, o)
			o.become(tt.answer)
			var n notes
			b, err := fetch(t.Context(), o, dir, &n)
			if err != nil || !bytes.Equal(b, o.text) {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
			asked, sent := o.seen()
			if len(asked) != tt.asks || asked[0] != fmt.Sprintf("bytes=%d-%d", have, size-1) {
				t.Errorf("asked for %q with %d bytes there", asked, have)
			}
			if want := size - have; !tt.all && sent != want || tt.all && sent != size {
				t.Errorf("%d bytes were sent, %d were missing", sent, want)
			}
			if !strings.Contains(n.String(), tt.note) {
				t.Errorf("says %q", n.String())
			}
			if left, _ := kept(t, dir); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestBrokenAgainAndAgain: a connection that brings something each time brings all.
func TestBrokenAgainAndAgain(t *testing.T) {
	o := serve(t, blob())
	o.become(upTo(size / 8))
	b, err := fetch(t.Context(), o, "", &notes{})
	asked, sent := o.seen()
	if err != nil || !bytes.Equal(b, o.text) || len(asked) < 8 || sent > size*5/4 {
		t.Errorf("%d bytes, %v; asked for %q, %d bytes sent", len(b), err, asked, sent)
	}
}

// TestWrong: what is not what the digest names is an error at its end, whether it
// came or was kept, and nothing of it is gone on from.
func TestWrong(t *testing.T) {
	lie := func(o *origin, w http.ResponseWriter, r *http.Request) {
		at := from(r)
		b := bytes.Clone(o.text[at:])
		b[len(b)/2] ^= 1
		if at == 0 {
			whole200(o, w, b, size)
			return
		}
		part206(o, w, b, fmt.Sprintf("bytes %d-%d/%d", at, size-1, size), size)
	}
	for _, tt := range []struct {
		name   string
		answer func(o *origin, w http.ResponseWriter, r *http.Request)
		begun  bool
		spoil  bool
	}{
		{"other bytes", lie, false, false},
		{"other bytes after the kept ones", lie, true, false},
		{"kept ones that are others", honest, true, true},
		{"longer", func(o *origin, w http.ResponseWriter, _ *http.Request) {
			whole200(o, w, append(bytes.Clone(o.text), 1), size+1)
		}, false, false},
		{"shorter", func(o *origin, w http.ResponseWriter, _ *http.Request) { whole200(o, w, o.text[1:], size) }, false, false},
		{"a part that nobody asked for", func(o *origin, w http.ResponseWriter, _ *http.Request) {
			part206(o, w, o.text, fmt.Sprintf("bytes 0-%d/%d", size-1, size), size)
		}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := serve(t, blob())
			dir := t.TempDir()
			if tt.begun {
				dir, _ = interrupted(t, o)
			}
			if tt.spoil {
				names, _ := kept(t, dir)
				f, err := os.OpenFile(filepath.Join(dir, names[0]), os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				_, err = f.WriteAt([]byte("spoiled"), 100)
				if err = errors.Join(err, f.Close()); err != nil {
					t.Fatal(err)
				}
			}
			o.become(tt.answer)
			if b, err := fetch(t.Context(), o, dir, &notes{}); err == nil {
				t.Errorf("%d bytes and no error", len(b))
			}
			if left, _ := kept(t, dir); len(left) != 0 {
				t.Fatalf("left: %v", left)
			}
			o.become(honest)
			if b, err := fetch(t.Context(), o, dir, &notes{}); err != nil || !bytes.Equal(b, o.text) {
				t.Errorf("afterwards: %d bytes, %v", len(b), err)
			}
		})
	}
}

// TestNoBlob: what can be no blob is not asked for.
func TestNoBlob(t *testing.T) {
	for _, b := range []Blob{{Digest: digest.FromString("x"), Size: -1}, {Digest: "sha256:../../x"}, {}} {
		if r, err := Open(t.Context(), b); err == nil {
			r.Close()
			t.Errorf("%+v is fetched", b)
		}
	}
}

// TestLonger: a file that is no part of the blob is begun anew.
func TestLonger(t *testing.T) {
	o := serve(t, blob())
	dir := t.TempDir()
	name := "sha256-" + digest.FromBytes(o.text).Encoded()
	if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := fetch(t.Context(), o, dir, &notes{}); err != nil || !bytes.Equal(b, o.text) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestTwo: of two that fetch the same, the second waits, and goes on where the
// first gives up.
func TestTwo(t *testing.T) {
	o := serve(t, blob())
	half := make(chan struct{})
	enough := make(chan struct{})
	o.become(func(o *origin, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			honest(o, w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = w.Write(o.text[:size/2])
		_ = http.NewResponseController(w).Flush()
		close(half)
		<-enough
		panic(http.ErrAbortHandler)
	})
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := fetch(ctx, o, dir, &notes{})
		first <- err
	}()
	<-half
	for have := int64(0); have < size/4; time.Sleep(time.Millisecond) {
		_, have = kept(t, dir)
	}
	var n notes
	second := make(chan error, 1)
	var got []byte
	go func() {
		var err error
		got, err = fetch(t.Context(), o, dir, &n)
		second <- err
	}()
	for !strings.Contains(n.String(), "waiting") {
		time.Sleep(time.Millisecond)
	}
	cancel()
	close(enough)
	if err := <-first; err == nil {
		t.Error("the first one was cut short, and gave no error")
	}
	if err := <-second; err != nil || !bytes.Equal(got, o.text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if asked, _ := o.seen(); len(asked) != 2 || asked[1] == "" {
		t.Errorf("asked for %q", asked)
	}
}

// TestNoRoom: where nothing can be kept all is fetched.
func TestNoRoom(t *testing.T) {
	o := serve(t, blob())
	dir := t.TempDir()
	r, err := Open(t.Context(), Blob{Client: o.Client(), URL: o.URL, Digest: digest.FromBytes(o.text), Size: size, Keep: dir, Note: (&notes{}).note})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.kept.file.Close() // each write fails
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, o.text) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestRelieve: what was kept makes room, unless it is still to be read.
func TestRelieve(t *testing.T) {
	o := serve(t, blob())
	dir, have := interrupted(t, o)
	o.become(honest)
	r, err := Open(t.Context(), Blob{Client: o.Client(), URL: o.URL, Digest: digest.FromBytes(o.text), Size: size, Keep: dir, Note: (&notes{}).note})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Relieve() || !r.Resumed() {
		t.Error("what is still to be read was removed")
	}
	if _, err := io.CopyN(io.Discard, r, have+1); err != nil {
		t.Fatal(err)
	}
	if !r.Relieve() || r.Relieve() {
		t.Error("it makes room once")
	}
	if left, _ := kept(t, dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Error(err)
	}
}

// TestSweep: what is old is removed, what is young or being fetched is not.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"old", "young", "held"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, 10), 0o600); err != nil {
			t.Fatal(err)
		}
		if then := time.Now().Add(-time.Hour); name != "young" {
			if err := os.Chtimes(path, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, err := lock(filepath.Join(dir, "held"))
	if err != nil || p == nil {
		t.Fatal(p, err)
	}
	defer p.close()
	freed, err := Sweep(dir, time.Now().Add(-time.Minute))
	left, _ := kept(t, dir)
	if err != nil || freed != 10 || strings.Join(left, " ") != "held young" {
		t.Errorf("%d bytes, %v, left %v", freed, err, left)
	}
	if freed, err := Sweep(filepath.Join(dir, "none"), time.Now()); freed != 0 || err != nil {
		t.Errorf("%d bytes, %v", freed, err)
	}
}

// TestBroke: only a connection's failure is tried again.
func TestBroke(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&net.OpError{Op: "read", Net: "tcp", Err: unix.ECONNRESET}, true},
		{&url.Error{Op: "Get", URL: "x", Err: io.EOF}, true},
		{fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), true},
		{os.ErrDeadlineExceeded, true},
		{unix.ENOSPC, false},
		{&os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}, false},
		{fmt.Errorf("unpacking a layer: %w", unix.ENOSPC), false},
		{io.EOF, false},
	} {
		if got := Broke(tt.err); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}
