//go:build !cgo

// Command sbx-store keeps the images of sbx. It is plumbing: sbx starts it, and
// says what to do as JSON on its standard input (overlay/image, Protocol).
//
//	sbx ── Request ──▶ sbx-store            looks up the caller's ids
//	                     └ sbx-store        root of a user namespace: reads, judges, keeps
//	 ◀── Messages ─────────  └ sbx-store    unpacks one layer, with that as its root directory
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/sirupsen/logrus"
	"go.podman.io/storage/pkg/reexec"

	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/overlay/store"
)

var version = "unknown" // set by the linker

func main() {
	if reexec.Init() { // this process unpacks a layer
		return
	}
	os.Exit(serve(os.Stdin, os.Stdout))
}

// maxRequest bounds what is read of a request.
const maxRequest = 1 << 20

func serve(in io.Reader, out io.Writer) int {
	enc := json.NewEncoder(out)
	fail := func(err error) int {
		m := image.Message{Kind: "error", Text: err.Error()}
		var h *store.Hint
		if errors.As(err, &h) {
			m.Hint = h.Next
		}
		if enc.Encode(m) != nil {
			fmt.Fprintln(os.Stderr, "sbx-store:", err)
		}
		return 1
	}
	ids, code, err := enterNamespace()
	switch {
	case err != nil:
		return fail(err)
	case ids == nil: // it was done by the process in the namespace
		return code
	}
	// What containers/storage mends of its own it tells in lines of another form.
	logrus.SetLevel(logrus.ErrorLevel)
	text, err := io.ReadAll(io.LimitReader(in, maxRequest))
	if err != nil {
		return fail(fmt.Errorf("reading the request: %w", err))
	}
	var req image.Request
	if err := json.Unmarshal(text, &req); err != nil {
		return fail(fmt.Errorf("reading the request: %w; sbx-store is started by sbx, and not by hand", err))
	}
	if req.Protocol != image.Protocol {
		return fail(fmt.Errorf("sbx speaks version %d and sbx-store version %d; install both from the same release", req.Protocol, image.Protocol))
	}
	reply, err := answer(&req, *ids, func(m image.Message) { _ = enc.Encode(m) })
	if err != nil {
		return fail(err)
	}
	reply.Kind = "result"
	if enc.Encode(reply) != nil {
		return 1
	}
	return 0
}

// answer does what is asked for.
func answer(req *image.Request, ids image.IDs, say func(image.Message)) (m image.Message, err error) {
	if req.Verb == image.VerbVersion {
		return image.Message{Version: version, IDs: &ids}, nil
	}
	defer func() {
		// containers/storage panics where it can't open a lock file: on a full disk,
		// say. It may hold others then, so the store is not closed.
		if p := recover(); p != nil {
			why, ok := p.(*fs.PathError)
			if !ok {
				panic(p)
			}
			m, err = image.Message{}, store.Explain(why)
		}
	}()
	s, err := store.Open(store.Options{Dir: req.Dir, Overlays: req.Overlays, IDs: ids, Say: say})
	if err != nil {
		return m, err
	}
	m, err = answerFrom(s, req)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return m, err
}

// answerFrom does what is asked for with the open store.
func answerFrom(s *store.Store, req *image.Request) (m image.Message, err error) {
	name := func() string {
		if len(req.Names) == 1 {
			return req.Names[0]
		}
		return ""
	}
	one := func(r *image.Record, err error) (image.Message, error) {
		if err != nil {
			return m, err
		}
		return image.Message{Images: []*image.Record{r}}, nil
	}
	switch req.Verb {
	case image.VerbImport:
		return one(s.Import(store.Import{Path: req.Path, Name: req.Name, Ref: req.Ref, Limits: req.Limits}))
	case image.VerbPull:
		return one(s.Pull(context.Background(), store.Pull{Ref: name(), Name: req.Name, PlainHTTP: req.PlainHTTP, Limits: req.Limits}))
	case image.VerbExport:
		return one(s.Export(store.Export{Name: name(), Path: req.Path, Format: req.Format}))
	case image.VerbCommit:
		if req.Commit == nil {
			return m, errors.New("commit of nothing")
		}
		return one(s.Commit(req.Path, req.Name, *req.Commit, req.Limits))
	case image.VerbIndex:
		m.Images, err = s.Reindex()
	case image.VerbTag:
		return one(s.Tag(name(), req.Name))
	case image.VerbRemove:
		m.Images, m.Freed, err = s.Remove(req.Names, req.Force)
	case image.VerbPrune:
		m.Images, m.Freed, err = s.Prune(req.All)
	default:
		err = fmt.Errorf("sbx-store knows no verb %q", req.Verb)
	}
	return m, err
}
