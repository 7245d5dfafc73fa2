//go:build !cgo

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/archive"
	"github.com/sbx-sandbox/sbx/overlay/download"
	"github.com/sbx-sandbox/sbx/overlay/image"
)

// Pull is what is to be fetched from a registry.
type Pull struct {
	Ref  string // "debian:12", "host:5000/name@sha256:..."
	Name string // to give it; "" for Ref
	// PlainHTTP allows a registry without TLS. One on the loopback is always.
	PlainHTTP bool
	Limits    image.Limits
}

// Pull fetches an image. Every part is what a digest names: the manifest's, if
// the reference has one, and from there on all others. Layers that are there
// already are not fetched; those that came before a failure stay for the next
// attempt.
func (s *Store) Pull(ctx context.Context, p Pull) (*image.Record, error) {
	if err := image.CheckName(p.Ref); err != nil {
		return nil, err
	}
	called := p.Name
	if called == "" {
		called = p.Ref
	}
	if err := image.CheckName(called); err != nil {
		return nil, err
	}
	var opts []name.Option
	if p.PlainHTTP {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(p.Ref, opts...)
	if err != nil {
		return nil, err
	}
	if reg := ref.Context().Registry; reg.Scheme() == "http" && !p.PlainHTTP && !loopback(reg.RegistryStr()) {
		return nil, &Hint{fmt.Errorf("the registry %s would be spoken to without TLS", reg), "allow that with --plain-http"}
	}
	t, done, err := s.taking(p.Limits)
	if err != nil {
		return nil, err
	}
	defer done()
	r, err := t.pull(ctx, ref, image.Tagged(called))
	if err != nil {
		return nil, pullError(p.Ref, err)
	}
	return r, nil
}

// pullError says what was fetched, and what to do.
func pullError(ref string, err error) error {
	next := ""
	var h *Hint
	var refused *archive.Refused
	var said *transport.Error
	var unknown *net.DNSError
	switch {
	case errors.As(err, &h):
		next = h.Next
	case errors.As(err, &refused):
		next = "nothing of this layer was kept"
	case errors.As(err, &said) && (said.StatusCode == http.StatusUnauthorized || said.StatusCode == http.StatusForbidden):
		next = "credentials are taken from ~/.docker/config.json, $REGISTRY_AUTH_FILE or $XDG_RUNTIME_DIR/containers/auth.json, as podman login writes them"
	case errors.As(err, &said) && said.StatusCode == http.StatusNotFound:
		next = "is the name right, and the tag?"
	case errors.Is(err, unix.ECONNREFUSED) || errors.As(err, &unknown):
		next = "is the registry's name right, and does it run?"
	case download.Broke(err):
		next = "what came is kept: the next attempt goes on from there"
	}
	return &Hint{fmt.Errorf("pulling %s: %w", ref, err), next}
}

// loopback reports whether a registry is on this machine.
func loopback(host string) bool {
	h, _, err := net.SplitHostPort(host)
	if err != nil {
		h = host
	}
	ip := net.ParseIP(h)
	return h == "localhost" || ip != nil && ip.IsLoopback()
}

func (t *taker) pull(ctx context.Context, ref name.Reference, called string) (*image.Record, error) {
	client, err := speak(ctx, ref)
	if err != nil {
		return nil, err
	}
	// It has credentials, tries again, and says who asks: no more is wrapped around it.
	puller, err := remote.NewPuller(remote.WithContext(ctx), remote.WithTransport(client.Transport),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return nil, err
	}
	desc, err := puller.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	img, err := desc.Image()
	if err != nil {
		return nil, err
	}
	f, err := fetched(img)
	if err != nil {
		return nil, err
	}
	top, err := t.stackUp(f.blobs, func(b blob, parent string) (*storage.Layer, error) {
		return t.fetch(ctx, ref.Context(), client, b, parent)
	})
	if err != nil {
		return nil, err
	}
	// The digest that the person can pin is the one of what the name led to.
	o := origin{Source: ref.Name(), Digest: desc.Digest.String(), Imported: time.Now().UTC().Truncate(time.Second)}
	return t.make(f.config, top, called, o)
}

// fetched is an image of a registry as what is to be taken in.
func fetched(img v1.Image) (*found, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if n := m.Config.Size; n < 0 || n > maxJSON { // or all that comes is read into memory
		return nil, fmt.Errorf("the manifest says that the configuration has %d bytes, and it may have %d", n, maxJSON)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("fetching the configuration: %w", err)
	}
	if have := digest.FromBytes(config); have.String() != m.Config.Digest.String() {
		return nil, fmt.Errorf("the configuration is %s and should be %s", have, m.Config.Digest)
	}
	diffs, err := diffIDs(config, len(m.Layers))
	if err != nil {
		return nil, err
	}
	f := &found{config: config}
	for i, l := range m.Layers {
		if l.Size < 0 {
			return nil, fmt.Errorf("the manifest says that layer %d has %d bytes", i+1, l.Size)
		}
		f.blobs = append(f.blobs, blob{diffID: diffs[i], size: l.Size, packed: digest.Digest(l.Digest.String())})
	}
	return f, nil
}

// flaky are the answers after which a registry is asked again.
var flaky = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// speak makes what speaks to the registry of ref, with the person's credentials.
func speak(ctx context.Context, ref name.Reference) (*http.Client, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = download.Patience
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, ref.Context())
	if err != nil {
		return nil, err
	}
	tr := transport.NewUserAgent(transport.NewRetry(base, transport.WithRetryStatusCodes(flaky...)), "sbx")
	tr, err = transport.NewWithContext(ctx, ref.Context().Registry, auth, tr, []string{ref.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: tr}, nil
}

// fetch takes in a layer from the network, from the beginning if what an earlier
// attempt fetched of it turns out to be something else.
func (t *taker) fetch(ctx context.Context, repo name.Repository, client *http.Client, b blob, parent string) (*storage.Layer, error) {
	var r *download.Reader
	b.open = func() (_ io.ReadCloser, err error) {
		r, err = download.Open(ctx, download.Blob{
			Client: client, URL: fmt.Sprintf("%s://%s/v2/%s/blobs/%s", repo.Scheme(), repo.RegistryStr(), repo.RepositoryStr(), b.packed),
			Digest: b.packed, Size: b.size, Keep: filepath.Join(t.dir, partial), Note: t.tell,
		})
		if err != nil {
			return nil, err
		}
		t.relieve = r.Relieve
		return io.NopCloser(r), nil // it is let go of only when it is clear what becomes of it
	}
	for {
		before, counted := t.done, t.count
		r = nil
		l, err := t.put(b, parent)
		t.relieve = nil
		again := false
		if r != nil {
			if err == nil || !download.Broke(err) && ctx.Err() == nil {
				r.Drop()
			}
			again = r.Resumed() && spoiled(err)
			r.Close()
		}
		if err == nil || !again {
			return l, err
		}
		t.note("what an earlier attempt fetched is no good (%v): fetching it anew", err)
		t.done, t.count = before, counted
	}
}

// spoiled reports whether err may be of what was read, and not of the connection
// or of this machine.
func spoiled(err error) bool {
	var here *Hint
	return err != nil && !download.Broke(err) && !errors.As(err, &here)
}
