package images

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// hub is a registry on the loopback that can be made to fail.
type hub struct {
	*httptest.Server
	mu    sync.Mutex
	blobs []string                              // digests that were fetched, in order
	fault func(w http.ResponseWriter, b []byte) // instead of answering with the blob b; nil = answer
	large int                                   // only blobs of so many bytes at least are at fault
	sent  int                                   // bytes of large blobs, since the last call of taken
	plain bool                                  // gives no ranges
	auth  string                                // "user:password", "" for anybody
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); h.auth != "" && user+":"+password != h.auth {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`, http.StatusUnauthorized)
			return
		}
		_, digest, isBlob := strings.Cut(r.URL.Path, "/blobs/sha256:")
		if !isBlob || r.Method != http.MethodGet {
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		h.mu.Lock()
		if h.plain {
			r.Header.Del("Range")
		}
		h.mu.Unlock()
		inner.ServeHTTP(rec, r)
		h.mu.Lock()
		h.blobs = append(h.blobs, digest[:8])
		fault := h.fault
		if rec.Body.Len() >= h.large {
			h.sent += rec.Body.Len()
		}
		h.mu.Unlock()
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		if fault != nil && rec.Body.Len() >= h.large {
			if rec.Code != http.StatusOK { // a part, which the fault knows nothing of
				w.WriteHeader(rec.Code)
			}
			fault(w, rec.Body.Bytes())
			return
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()) // who hung up is another matter
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hub) addr() string { return strings.TrimPrefix(h.URL, "http://") }

// taken are the blobs fetched since the last call.
func (h *hub) taken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.blobs
	h.blobs, h.sent = nil, 0
	return list
}

// bytes are those of large blobs that were asked for since the last call of taken.
func (h *hub) bytes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent
}

func (h *hub) set(fault func(http.ResponseWriter, []byte)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = fault
}

// cut answers with half of a blob and hangs up.
func cut(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = w.Write(b[:len(b)/2])
	w.(http.Flusher).Flush()
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		c.Close()
	}
}

// other answers with a blob in which a byte is another.
func other(w http.ResponseWriter, b []byte) {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	_, _ = w.Write(b)
}

// TestPull: from a registry, by tag and by digest, around its faults.
func TestPull(t *testing.T) {
	s := newSite(t, "umoci", "skopeo", "tar")
	h := newHub(t)
	ref := h.addr() + "/team/made:v1"
	s.outside(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+s.layout(t)+":v1", "docker://"+ref)
	digest := strings.TrimSpace(s.outside(t, "skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", "docker://"+ref))
	h.taken()

	h.large = 100_000 // the first layer has busybox, the second next to nothing
	h.set(cut)
	h.plain = true
	s.refused(t, []string{"pulling " + ref, "unexpected EOF", "the next attempt goes on"}, "image", "pull", ref)
	if n := len(h.taken()); n < 3 {
		t.Errorf("a broken connection was tried %d times", n)
	}
	h.plain = false
	h.set(other)
	s.refused(t, []string{"pulling " + ref}, "image", "pull", ref)
	if left := s.layers(t); len(left) != 0 {
		t.Errorf("layers of what is wrong are left: %v", left)
	}
	once := sync.OnceFunc(func() { h.set(nil) })
	h.set(func(w http.ResponseWriter, b []byte) { once(); cut(w, b) })
	if got := s.sbx(t, "image", "pull", ref); got.Code != 0 || !strings.Contains(got.Err, "trying again") {
		t.Errorf("a connection that breaks once: %d, %s", got.Code, got.Err)
	}
	same(t, "pulled", s.sbx(t, "run", "--image", "team/made:v1"), "second\n")
	h.taken()
	s.must(t, "image", "pull", ref)
	s.must(t, "image", "pull", "--name", "mine", ref)
	for _, b := range h.taken() {
		if !strings.HasPrefix(s.inspect(t, "mine").ID, b) { // the configuration is asked for
			t.Errorf("the layer %s was fetched again", b)
		}
	}
	s.must(t, "image", "prune", "--all")

	// The second layer fails: the first is kept, and not fetched again.
	h.large = 0
	bad := 0
	h.set(func(w http.ResponseWriter, b []byte) {
		if len(b) < 100_000 && !bytes.HasPrefix(b, []byte("{")) {
			bad++
			cut(w, b)
			return
		}
		_, _ = w.Write(b)
	})
	s.refused(t, []string{"goes on from there"}, "image", "pull", ref)
	if left := s.layers(t); len(left) != 1 || bad == 0 {
		t.Errorf("layers %v after %d faults", left, bad)
	}
	first := h.taken()
	h.set(nil)
	s.must(t, "image", "pull", ref)
	for _, b := range h.taken() {
		if n := strings.Count(strings.Join(first, " "), b); n == 1 && !strings.HasPrefix(s.inspect(t, "made:v1").ID, b) {
			t.Errorf("the layer %s was fetched again", b)
		}
	}

	pinned := h.addr() + "/team/made@" + digest
	s.must(t, "image", "pull", pinned)
	same(t, "by digest", s.sbx(t, "run", "--image", pinned), "second\n")
	s.refused(t, []string{"pulling"}, "image", "pull", h.addr()+"/team/made@sha256:"+strings.Repeat("0", 64))
	s.refused(t, []string{"is the name right"}, "image", "pull", h.addr()+"/team/none:v1")
	s.refused(t, []string{"connection refused", "does it run?"}, "image", "pull", "127.0.0.1:1/x")
	s.refused(t, []string{"--plain-http"}, "image", "pull", "10.0.0.1:5000/x:1")
	if got := s.sbx(t, "image", "pull", "Bad//name"); got.Code != 2 {
		t.Errorf("a name that is none: %d, %s", got.Code, got.Err)
	}

	h.auth = "me:secret"
	s.must(t, "image", "prune", "--all")
	s.refused(t, []string{"podman login", "who are you?"}, "image", "pull", ref)
	s.Write(t, filepath.Join(s.Home, ".docker/config.json"), `{"auths":{"`+h.addr()+`":{"auth":"bWU6c2VjcmV0"}}}`)
	s.must(t, "image", "pull", ref)
}

// TestExport: what is given out is what came in, to other tools as well.
func TestExport(t *testing.T) {
	s := newSite(t, "umoci", "skopeo", "tar", "podman")
	at := s.layout(t)
	s.must(t, "image", "import", "--name", "out:v1", at)
	id := s.inspect(t, "out:v1").ID
	for format, transport := range map[string]string{"oci": "oci", "oci-archive": "oci-archive", "docker-archive": "docker-archive"} {
		to := filepath.Join(s.Home, "out-"+format)
		s.must(t, "image", "export", "--format", format, "out:v1", to)
		s.refused(t, []string{"is there already"}, "image", "export", "--format", format, "out:v1", to)
		config := s.outside(t, "skopeo", "inspect", "--config", transport+":"+to)
		for _, want := range []string{`"COLOUR=blue"`, `"/srv"`, `"made":"here"`} {
			if !strings.Contains(strings.Join(strings.Fields(config), ""), want) {
				t.Errorf("%s: its configuration lacks %s:\n%s", format, want, config)
			}
		}
		s.outside(t, "skopeo", "copy", "-q", transport+":"+to, "oci:"+s.Home+"/back-"+format+":v1")
		for i, path := range []string{to, s.Home + "/back-" + format} {
			name := fmt.Sprintf("in-%s:%d", format, i)
			s.must(t, "image", "import", "--name", name, path)
			// skopeo writes a configuration of docker's anew as OCI's.
			if got := s.inspect(t, name); got.ID != id && (format != "docker-archive" || i == 0) {
				t.Errorf("%s came back as another image", name)
			}
			same(t, name, s.sbx(t, "run", "--image", name), "second\n")
		}
	}
	podman := []string{"podman", "--root", s.Home + "/podman", "--runroot", s.Home + "/podman-run", "--storage-driver", "vfs"}
	out := s.outside(t, append(podman, "load", "-q", "-i", s.Home+"/out-docker-archive")...)
	if !strings.Contains(out, "out:v1") {
		t.Errorf("podman load: %s", out)
	}
	list := s.outside(t, append(podman, "images", "-q", "--no-trunc")...)
	if !strings.Contains(list, id) {
		t.Errorf("podman has %s, not %s", list, id)
	}
	s.outside(t, append(podman, "system", "reset", "--force")...)
	os.RemoveAll(s.Home + "/podman")
	left, err := filepath.Glob(s.Home + "/.sbx-export-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
