// Package download fetches blobs, which are named by their digests, from a
// registry (OCI distribution specification, "Pulling blobs"). What came is kept in
// a file, so that after a broken connection or a killed process the next attempt
// goes on from there, by an HTTP range where the registry gives one.
//
// What was kept is no more trusted than what comes: the digest is that of the
// whole blob, whoever sent its parts.
package download

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
)

// Blob is what is to be fetched, and how.
type Blob struct {
	Client *http.Client // speaks to the registry, with credentials
	URL    string
	Digest digest.Digest
	Size   int64 // bytes, as the manifest says
	// Keep is the directory in which what came is kept, "" for none. It has to be
	// the caller's own.
	Keep string
	// Pause is how long to wait before the first new attempt, 0 for half a second.
	Pause time.Duration
	// Note tells the person something. It must not be nil.
	Note func(format string, args ...any)
}

// Patience is how long a registry may be silent.
const Patience = 60 * time.Second

const (
	// worth is the size from which on a blob is kept: a smaller one is fetched anew
	// in no time.
	worth = 64 << 10
	// attempts is how often in a row a connection may break without having brought
	// anything.
	attempts = 3
)

// WrongDigest is a blob that is not what its name says.
type WrongDigest struct {
	Want digest.Digest
	Why  string // "it is sha256:..." or how it differs in size
}

func (e *WrongDigest) Error() string {
	return fmt.Sprintf("%s came as something else: %s", e.Want, e.Why)
}

// Reader is a blob while it is fetched. It ends with io.EOF only after the whole
// blob came and its digest was right.
type Reader struct {
	ctx   context.Context
	b     Blob
	sum   digest.Verifier
	kept  *part // nil: nothing is kept
	from  int64 // bytes that were kept by an earlier attempt
	at    int64
	body  io.ReadCloser // at the offset at, nil between connections
	hang  *hangUp       // of body
	whole bool          // the registry is not to be asked for a part again
	tries int           // without anything that came
	err   error
}

// Open begins to fetch b. Another process that fetches the same is waited for.
// The caller closes the Reader.
func Open(ctx context.Context, b Blob) (*Reader, error) {
	if err := b.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("the digest %q: %w", string(b.Digest), err)
	}
	if b.Size < 0 {
		return nil, fmt.Errorf("%s: a size of %d bytes", b.Digest, b.Size)
	}
	r := &Reader{ctx: ctx, b: b, sum: b.Digest.Verifier()}
	if b.Keep == "" || b.Size < worth {
		return r, nil
	}
	var err error
	if r.kept, err = claim(ctx, b); err != nil {
		return nil, err
	}
	if r.kept == nil {
		return r, nil
	}
	if r.kept.size > b.Size { // no part of this one
		r.kept.size = 0
	}
	if r.from = r.kept.size; r.from > 0 {
		b.Note("going on after %d of %d MiB that an earlier attempt fetched", r.from>>20, b.Size>>20)
	}
	return r, nil
}

// Resumed reports whether a part of what was read came from an earlier attempt.
func (r *Reader) Resumed() bool { return r.from > 0 }

// Close hangs up. What came stays for the next attempt.
func (r *Reader) Close() error {
	r.hangUp()
	if r.kept != nil {
		r.kept.close()
	}
	return nil
}

// Drop removes what was kept: it is of no more use. Close must follow all the same.
func (r *Reader) Drop() {
	if r.kept != nil {
		r.kept.remove()
		r.kept = nil
	}
}

// Relieve makes room: it drops what was kept, unless that is still to be read. It
// reports whether it did.
func (r *Reader) Relieve() bool {
	if r.kept == nil || r.at < r.from {
		return false
	}
	r.Drop()
	return true
}

func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.next(p)
	_, _ = r.sum.Write(p[:n]) // a hash takes all
	r.at += int64(n)
	if err == nil && r.at == r.b.Size && n == 0 {
		if err = io.EOF; !r.sum.Verified() {
			err = &WrongDigest{r.b.Digest, fmt.Sprintf("all %d bytes are there, and they have another digest", r.at)}
		}
	}
	r.err = err
	return n, err
}

// next reads what comes next: of what was kept, then of the network. Nothing and
// no error is the end.
func (r *Reader) next(p []byte) (int, error) {
	p = p[:min(int64(len(p)), r.b.Size-r.at)]
	if len(p) == 0 {
		return 0, nil
	}
	if r.at < r.from {
		n, err := r.kept.file.ReadAt(p[:min(int64(len(p)), r.from-r.at)], r.at)
		if n > 0 {
			return n, nil
		}
		return 0, fmt.Errorf("reading what an earlier attempt fetched: %w", err)
	}
	for {
		n, err := r.receive(p)
		if n > 0 {
			r.tries = 0
			r.keep(p[:n])
			return n, nil
		}
		if r.tries++; !Broke(err) || r.tries >= attempts || r.ctx.Err() != nil {
			return 0, err
		}
		r.b.Note("the connection broke (%v), trying again", err)
		select {
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		case <-time.After(time.Duration(r.tries) * cmp.Or(r.b.Pause, time.Second/2)):
		}
	}
}

// receive reads from the network; without anything there is an error.
func (r *Reader) receive(p []byte) (int, error) {
	if r.body == nil {
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
	n, err := r.hang.read(r.body, p)
	if n > 0 {
		return n, nil // the error comes again
	}
	r.hangUp()
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return 0, fmt.Errorf("after %d of %d bytes: %w", r.at, r.b.Size, err)
}

func (r *Reader) hangUp() {
	if r.body != nil {
		r.body.Close()
		r.hang.cancel()
		r.body = nil
	}
}

// keep keeps what came. Where that can't be done the rest is fetched all the same.
func (r *Reader) keep(p []byte) {
	if r.kept == nil {
		return
	}
	if err := r.kept.add(p, r.at); err != nil {
		r.b.Note("what comes can't be kept for another attempt: %v", err)
		r.Drop()
	}
}

// connect asks for the blob from the offset on.
func (r *Reader) connect() error {
	ctx, cancel := context.WithCancel(r.ctx)
	hang := &hangUp{r.ctx, cancel}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.b.URL, nil)
	if err != nil {
		cancel()
		return err
	}
	req.Header.Set("Accept-Encoding", "identity") // the digest is of the bytes as they are
	part := r.at > 0 && !r.whole
	if part {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.at, r.b.Size-1))
	}
	resp, err := r.b.Client.Do(req)
	if err != nil {
		cancel()
		return err
	}
	if part && !r.given(resp) {
		r.whole = true
		if resp.StatusCode != http.StatusOK { // nor is it all
			resp.Body.Close()
			cancel()
			return r.connect()
		}
	}
	if err := r.skip(hang, resp); err != nil {
		resp.Body.Close()
		cancel()
		return err
	}
	r.body, r.hang = resp.Body, hang
	return nil
}

// given reports whether the part that was asked for is what comes, or an error that
// has nothing to do with it.
func (r *Reader) given(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusPartialContent:
		var from, to int64
		said := resp.Header.Get("Content-Range")
		if _, err := fmt.Sscanf(said, "bytes %d-%d/", &from, &to); err != nil || from != r.at || to != r.b.Size-1 {
			r.b.Note("asked for byte %d and what follows, the registry gives %q: fetching all", r.at, said)
			return false
		}
	case http.StatusOK, http.StatusRequestedRangeNotSatisfiable:
		r.b.Note("the registry gives no part of a layer: fetching all")
		return false
	}
	return true
}

// skip reads for nothing what is there already, of a registry that sends all.
func (r *Reader) skip(hang *hangUp, resp *http.Response) error {
	if !r.whole && r.at > 0 {
		return transport.CheckError(resp, http.StatusPartialContent)
	}
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return err
	}
	if n := resp.ContentLength; n >= 0 && n != r.b.Size {
		return &WrongDigest{r.b.Digest, fmt.Sprintf("it has %d bytes and should have %d", n, r.b.Size)}
	}
	buf := make([]byte, 64<<10)
	for left := r.at; left > 0; {
		n, err := hang.read(resp.Body, buf[:min(left, int64(len(buf)))])
		if left -= int64(n); err != nil && left > 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("before byte %d of %d, where the last connection broke: %w", r.at, r.b.Size, err)
		}
	}
	return nil
}

// hangUp ends a connection on which nothing comes.
type hangUp struct {
	ctx    context.Context // of whoever wants the blob
	cancel context.CancelFunc
}

// errSilent is a connection that was ended because nothing came on it.
var errSilent = fmt.Errorf("nothing came for %v: %w", Patience, io.ErrUnexpectedEOF)

func (h *hangUp) read(src io.Reader, p []byte) (int, error) {
	timer := time.AfterFunc(Patience, h.cancel)
	n, err := src.Read(p)
	timer.Stop()
	if errors.Is(err, context.Canceled) && h.ctx.Err() == nil {
		err = errSilent
	}
	return n, err
}

// Broke reports whether err is of the connection, and may be over when it is tried
// again. An errno, such as that of a full disk, is a net.Error as well.
func Broke(err error) bool {
	var op *net.OpError
	var get *url.Error
	var network net.Error
	return errors.As(err, &op) || errors.As(err, &get) || errors.As(err, &network) && network.Timeout() || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "connection reset")
}
