//go:build !cgo

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/sbx-sandbox/sbx/overlay/archive"
	"github.com/sbx-sandbox/sbx/overlay/image"
)

// blob is one layer on its way in.
type blob struct {
	diffID digest.Digest // of the uncompressed archive; "" takes any
	open   func() (io.ReadCloser, error)
	size   int64         // of what open gives, 0 when it is not known
	packed digest.Digest // of what open gives, in a registry; "" elsewhere
}

// kept is what is remembered of a layer beside what containers/storage knows.
type kept struct {
	Owners bool `json:"owners,omitempty"`
	MaxID  int  `json:"max_id,omitempty"`
}

// taker takes in the layers of one image, which are counted together.
type taker struct {
	*Store
	lim   image.Limits
	count archive.Count
	done  int64 // bytes read
	total int64
	said  time.Time
	what  string
	// relieve makes room on the disk and reports whether it did; nil where there is
	// nothing to be done.
	relieve func() bool
}

// chain is the id of a layer on top of those before it (OCI image specification,
// config.md, "Layer ChainID"): the same contents in the same order are one layer.
func chain(parent string, diffID digest.Digest) string {
	if parent == "" {
		return diffID.Encoded()
	}
	return digest.FromString("sha256:" + parent + " " + diffID.String()).Encoded()
}

// stackUp takes in the layers of an image by put, the lowest first, and returns the
// topmost one's id.
func (t *taker) stackUp(blobs []blob, put func(b blob, parent string) (*storage.Layer, error)) (top string, err error) {
	for _, b := range blobs {
		t.total += b.size
	}
	for i, b := range blobs {
		t.what = fmt.Sprintf("layer %d of %d", i+1, len(blobs))
		l, err := put(b, top)
		if err != nil {
			return "", err
		}
		top = l.ID
	}
	return top, nil
}

// put takes in a layer on top of parent. One that is there already is not read.
func (t *taker) put(b blob, parent string) (*storage.Layer, error) {
	id := ""
	if b.diffID != "" {
		have, err := t.twin(b.diffID, parent, "")
		if have != nil || err != nil {
			t.done += b.size
			return have, err
		}
		id = chain(parent, b.diffID)
	}
	src, err := b.open()
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if b.packed != "" { // another pull may have been waited for
		if have, err := t.twin(b.diffID, parent, ""); have != nil || err != nil {
			t.done += b.size
			return have, err
		}
	}
	read := &meter{t: t, src: src}
	plain, _, err := archive.Expand(read, t.lim.Ratio)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	lim := archive.Limits{Size: t.lim.Size, Entries: t.lim.Entries, Depth: t.lim.Depth, Ratio: t.lim.Ratio}
	before := t.count
	t.count.Owners, t.count.MaxID = false, 0
	judged := &guard{t: t, src: archive.NewReader(plain, lim, &t.count, nil)}
	l, _, err := t.st.PutLayer(id, parent, nil, "", false, nil, judged)
	owners := kept{Owners: t.count.Owners, MaxID: t.count.MaxID}
	if n := t.count.Devices - before.Devices; n > 0 {
		t.note("%d device nodes are left out: nobody but root can make them, and a sandbox has its own /dev", n)
	}
	switch {
	case judged.err != nil: // says more than the unpacker, which was cut short by it
		if err == nil {
			return nil, errors.Join(judged.err, t.st.DeleteLayer(l.ID))
		}
		return nil, judged.err
	case errors.Is(err, storage.ErrDuplicateID) && l != nil: // another took it in at the same time
		return l, nil
	case err != nil:
		return nil, fmt.Errorf("unpacking a layer: %w", Explain(tidy(err)))
	}
	if b.diffID != "" && l.UncompressedDigest != b.diffID {
		have := l.UncompressedDigest
		if err := t.st.DeleteLayer(l.ID); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("a layer is not what the image names: it is %s and should be %s", have, b.diffID)
	}
	if id == "" { // known only now
		return t.known(l, parent, owners)
	}
	return l, t.remember(l.ID, owners)
}

// known is a layer that was taken in without knowing its contents before: the
// one that is there already, if one has the same.
func (t *taker) known(l *storage.Layer, parent string, owners kept) (*storage.Layer, error) {
	have, err := t.twin(l.UncompressedDigest, parent, l.ID)
	switch {
	case err != nil:
		return nil, err
	case have != nil:
		return have, t.st.DeleteLayer(l.ID)
	}
	return l, t.remember(l.ID, owners)
}

// twin is a layer on top of parent with these contents, other than the layer
// `but`; nil if there is none.
func (t *taker) twin(diffID digest.Digest, parent, but string) (*storage.Layer, error) {
	same, err := t.st.LayersByUncompressedDigest(diffID)
	if err != nil && !notThere(err) {
		return nil, err
	}
	for i := range same {
		if same[i].ID != but && same[i].Parent == parent {
			return &same[i], nil
		}
	}
	return nil, nil
}

func (t *taker) remember(id string, k kept) error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return t.st.SetMetadata(id, string(text))
}

func remembered(l *storage.Layer) (k kept) {
	if json.Unmarshal([]byte(l.Metadata), &k) != nil {
		return kept{}
	}
	return k
}

// tidy shortens what the unpacking process said.
func tidy(err error) error {
	text := err.Error()
	if strings.Contains(text, "duplicates of file paths") {
		return &archive.Refused{Why: "it has one path twice"}
	}
	if i := strings.LastIndex(text, "output: "); i >= 0 && len(text) > i+10 {
		return fmt.Errorf("%s", strings.TrimSuffix(strings.TrimSpace(text[i+len("output: "):]), ")"))
	}
	return err
}

// guard passes on what was judged, while there is room for it.
type guard struct {
	t   *taker
	src io.Reader
	n   int64
	err error
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.src.Read(p)
	const often = 8 << 20
	if err == nil && (g.n == 0 || (g.n+int64(n))/often > g.n/often) {
		var free int64
		if free, err = g.t.free(); err == nil && free < g.t.lim.Free && g.t.relieve != nil && g.t.relieve() {
			free, err = g.t.free()
		}
		if err == nil && free < g.t.lim.Free {
			err = &Hint{fmt.Errorf("%d MiB are free in %s, and %d MiB are to stay free", free>>20, g.t.dir, g.t.lim.Free>>20),
				"make room, or say --min-free; nothing of this image was kept"}
		}
	}
	g.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		g.err = err
		return 0, err
	}
	return n, err
}

// meter counts what is read, for who watches.
type meter struct {
	t   *taker
	src io.Reader
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.src.Read(p)
	m.t.done += int64(n)
	if now := time.Now(); now.Sub(m.t.said) > 100*time.Millisecond {
		m.t.said = now
		m.t.say(image.Message{Kind: "progress", Text: m.t.what, Done: m.t.done, Total: m.t.total})
	}
	return n, err
}
