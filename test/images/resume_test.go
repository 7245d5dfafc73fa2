package images

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/world"
)

// partial are the bytes that are kept of layers whose pull did not end.
func (s *site) partial(t *testing.T) (n int) {
	t.Helper()
	list, err := filepath.Glob(s.images() + "/partial/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range list {
		if st, err := os.Stat(path); err == nil {
			n += int(st.Size())
		}
	}
	return n
}

const large = 6 << 20 // bytes of a layer that do not compress

// largeImage puts an image with a layer that takes its time into the registry, and
// another one, steady, into the store.
func largeImage(t *testing.T, s *site, h *hub) (ref string) {
	t.Helper()
	root := s.tree(t)
	s.must(t, "image", "import", "--name", "steady", root)
	noise := make([]byte, large)
	_, _ = rand.Read(noise)
	s.Write(t, root+"/srv/large", string(noise))
	s.must(t, "image", "import", "--name", "made", root)
	s.must(t, "image", "export", "--format", "oci", "made", s.Home+"/made")
	s.must(t, "image", "rm", "made")
	s.must(t, "image", "prune")
	ref = h.addr() + "/made:v1"
	s.outside(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+s.Home+"/made", "docker://"+ref)
	h.large = large / 8
	return ref
}

// killedHalfway kills one process of a pull when half of the layer came, and returns
// what is kept of it; -1 is that there are not so many processes.
func killedHalfway(t *testing.T, s *site, h *hub, ref string, victim int) int {
	t.Helper()
	open := make(chan struct{})
	h.set(func(w http.ResponseWriter, b []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		<-open
		panic(http.ErrAbortHandler)
	})
	cmd := s.Command(s.Sbx, "image", "pull", "-q", ref)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	world.Until(t, "a third of the layer is kept", func() bool { return s.partial(t) > large/3 })
	line := append([]world.Process{{PID: cmd.Process.Pid, Name: "sbx"}}, world.Below(t, cmd.Process.Pid)...)
	if victim < len(line) {
		_ = unix.Kill(line[victim].PID, unix.SIGKILL)
	} else {
		_ = cmd.Process.Kill()
	}
	close(open)
	stuck := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill(); t.Error("sbx was stuck") })
	_ = cmd.Wait()
	stuck.Stop()
	h.set(nil)
	world.Until(t, "nothing of the pull is left", func() bool { return len(world.Gone(t)) == 0 })
	if victim >= len(line) {
		return -1
	}
	return s.partial(t)
}

// TestResume: a pull that is killed in the middle of a layer, or whose connection
// breaks, goes on there the next time. The control is what is asked for without.
func TestResume(t *testing.T) {
	s := newSite(t, "skopeo")
	world.Adopt(t)
	h := newHub(t)
	ref := largeImage(t, s, h)
	pulled := func(t *testing.T) int {
		t.Helper()
		h.taken()
		s.must(t, "image", "pull", ref)
		n := h.bytes()
		same(t, "pulled", s.on(t, "made:v1", "stat -c %s /srv/large"), fmt.Sprintln(large))
		s.must(t, "image", "rm", "made:v1")
		if left := s.partial(t); left != 0 {
			t.Errorf("%d bytes are kept of a pull that ended", left)
		}
		return n
	}
	all := pulled(t)
	if all < large {
		t.Fatalf("control: a pull asks for %d bytes", all)
	}
	// sbx, the sbx-store that it started, the one in the namespace.
	for victim := range 3 {
		t.Run(fmt.Sprintf("process %d killed", victim), func(t *testing.T) {
			have := killedHalfway(t, s, h, ref, victim)
			if have < large/3 {
				t.Fatalf("%d bytes are kept", have)
			}
			same(t, "the image of before", s.on(t, "steady", "cat /srv/marker"), "first\n")
			if n := pulled(t); n != all-have {
				t.Errorf("%d bytes were asked for, with %d of %d there", n, have, all)
			}
		})
	}
	t.Run("the unpacker killed", func(t *testing.T) {
		if killedHalfway(t, s, h, ref, 3) < 0 {
			t.Fatal("there is no process that unpacks")
		}
		pulled(t)
	})
	t.Run("pruned", func(t *testing.T) {
		killedHalfway(t, s, h, ref, 0)
		if got := s.must(t, "image", "prune"); s.partial(t) != 0 || !strings.Contains(got, "MiB") && !strings.Contains(got, "M") {
			t.Errorf("%d bytes are kept; it says %q", s.partial(t), got)
		}
		if n := pulled(t); n != all {
			t.Errorf("%d bytes were asked for, of %d", n, all)
		}
	})
	t.Run("no ranges", func(t *testing.T) {
		killedHalfway(t, s, h, ref, 0)
		h.plain = true
		if n := pulled(t); n != all {
			t.Errorf("%d bytes were asked for, of %d", n, all)
		}
		h.plain = false
	})
	t.Run("a lie", func(t *testing.T) {
		have := killedHalfway(t, s, h, ref, 0)
		once := sync.OnceFunc(func() { h.set(nil) })
		h.set(func(w http.ResponseWriter, b []byte) {
			once()
			_, _ = w.Write(bytes.Repeat([]byte{7}, len(b)))
		})
		if n := pulled(t); n != all+all-have {
			t.Errorf("%d bytes were asked for: the rest of %d, and all %d", n, all-have, all)
		}
		killedHalfway(t, s, h, ref, 0)
		h.set(func(w http.ResponseWriter, b []byte) { // again and again
			_, _ = w.Write(bytes.Repeat([]byte{7}, len(b)))
		})
		s.refused(t, []string{"pulling " + ref, "fetching it anew"}, "image", "pull", ref)
		h.set(nil)
		if left := s.layers(t); len(left) != 1 || s.partial(t) != 0 {
			t.Errorf("layers %v, %d bytes of parts", left, s.partial(t))
		}
		pulled(t)
	})
	t.Run("two at once", func(t *testing.T) {
		h.set(slow)
		defer h.set(nil)
		h.taken()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if got := world.Wait(t, s.Command(s.Sbx, "image", "pull", "--name", fmt.Sprintf("at-once:%d", i), ref)); got.Code != 0 {
					t.Errorf("status %d, %s", got.Code, got.Err)
				}
			})
		}
		wg.Wait()
		if n := h.bytes(); n != all {
			t.Errorf("three pulls asked for %d bytes, one for %d", n, all)
		}
		for i := range 3 {
			same(t, "at once", s.on(t, fmt.Sprintf("at-once:%d", i), "cat /srv/marker"), "first\n")
		}
	})
}
