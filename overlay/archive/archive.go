// Package archive judges a tar stream before anything is unpacked from it: a
// reader that lets through, byte for byte, what it has looked at and found
// good. It reads headers with the very package that unpacks them in
// containers/storage, so that both see the same entries.
package archive

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/vbatts/tar-split/archive/tar"
)

// Limits bound one archive, or several that are counted together.
type Limits struct {
	Size    int64 // bytes of all files' contents
	Entries int64
	Depth   int64 // directories that a file may lie in
	// Ratio is how many times its compressed size an archive may take up in files,
	// a block each; 0 is no bound, and so is a source that is none of Expand's. With
	// one, sparse files are bounded as well.
	Ratio int64
}

// Count is what went through so far. Several readers, one after another, may
// share it.
type Count struct {
	Size, Entries int64
	// Owners says that an entry belonged to another id than 0.
	Owners bool
	// MaxID is the highest id that an entry belonged to.
	MaxID int
	// Devices are device nodes, which nobody without root can make: they are left
	// out when the archive is unpacked.
	Devices int64
}

// Refused is an archive that is not unpacked.
type Refused struct {
	Entry string // the entry at fault, "" for the archive as a whole
	Why   string
}

func (e *Refused) Error() string {
	if e.Entry == "" {
		return "the archive is refused: " + e.Why
	}
	name := e.Entry
	if len(name) > 2*shownName { // it is as long as a stranger liked
		name = name[:shownName] + "…" + name[len(name)-shownName:]
	}
	return fmt.Sprintf("the archive is refused: entry %q %s", name, e.Why)
}

// shownName is how many bytes of a long name are shown of its beginning, and of
// its end.
const shownName = 128

const (
	// maxXattrs is the bytes of all extended attributes of one entry: what Linux
	// takes as one value (xattr(7), XATTR_SIZE_MAX), names included.
	maxXattrs = 64 << 10
	maxName   = 255  // NAME_MAX
	maxPath   = 4096 // PATH_MAX
	// maxTail is what may follow the end of the archive: tar(1) fills up a record,
	// and some tools write several.
	maxTail = 1 << 20
	// step is how much of a file's contents is looked at at once.
	step = 128 << 10
	// block is what an entry takes up on disk about, however empty it is: an inode
	// and its name.
	block = 4 << 10
	// whiteout begins the names that delete something of a lower layer (OCI image
	// specification, layer.md).
	whiteout = ".wh."
)

// Reader judges an archive while it is read. Its own Read returns only what
// belongs to entries that were judged.
type Reader struct {
	src   io.Reader
	tar   *tar.Reader
	lim   Limits
	count *Count
	files int64 // of this archive alone
	holes int64 // bytes of its sparse files
	each  func(*tar.Header)

	raw   []byte // judged, and not yet read
	out   int    // of raw
	tail  int64
	begun bool
	ended bool // the archive's end was seen
	err   error
	cause error // why src could not be read on
}

// NewReader judges the uncompressed archive src by lim and adds what it sees to
// count. each, if not nil, is called with every header that is good.
func NewReader(src io.Reader, lim Limits, count *Count, each func(*tar.Header)) *Reader {
	r := &Reader{src: src, lim: lim, count: count, each: each}
	r.tar = tar.NewReader(tee{r})
	return r
}

// tee is src for the tar reader; what it takes is kept in raw.
type tee struct{ r *Reader }

func (t tee) Read(p []byte) (int, error) {
	n, err := t.r.src.Read(p)
	t.r.raw = append(t.r.raw, p[:n]...)
	if err != nil && !errors.Is(err, io.EOF) {
		t.r.cause = err
	}
	return n, err
}

func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.out == len(r.raw) {
		if r.err != nil {
			return 0, r.err
		}
		r.raw, r.out = r.raw[:0], 0
		if err := r.advance(); err != nil {
			r.err = err
			if !errors.Is(err, io.EOF) {
				return 0, err // what was taken in with it stays here
			}
		}
	}
	n := copy(p, r.raw[r.out:])
	r.out += n
	return n, nil
}

// advance judges some more, which puts it into raw. io.EOF is the end.
func (r *Reader) advance() error {
	if r.ended {
		return r.rest()
	}
	if r.begun {
		n, err := io.CopyN(io.Discard, r.tar, step)
		if err != nil && !errors.Is(err, io.EOF) {
			return r.broken(err)
		}
		if n > 0 {
			return nil
		}
	}
	h, err := r.tar.Next()
	if !r.begun {
		if err := r.begin(); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		r.ended = true
		return nil
	}
	if err != nil {
		return r.broken(err)
	}
	r.begun = true
	if err := r.judge(h); err != nil {
		return err
	}
	if r.each != nil {
		r.each(h)
	}
	return nil
}

// broken is a failure to read: of the archive's own, unless its source failed.
func (r *Reader) broken(err error) error {
	if r.cause != nil {
		return r.cause
	}
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Refused{Why: "it is damaged or cut short: " + err.Error()}
	}
	return err
}

// rest passes on what follows the archive's end.
func (r *Reader) rest() error {
	buf := make([]byte, step)
	n, err := r.src.Read(buf)
	if r.tail += int64(n); r.tail > maxTail {
		return &Refused{Why: fmt.Sprintf("more than %d bytes follow its end", maxTail)}
	}
	r.raw = append(r.raw, buf[:n]...)
	return err
}

func (r *Reader) judge(h *tar.Header) error {
	c := r.count
	refuse := func(format string, args ...any) error {
		return &Refused{Entry: h.Name, Why: fmt.Sprintf(format, args...)}
	}
	if c.Entries++; c.Entries > r.lim.Entries {
		return &Refused{Why: fmt.Sprintf("it has more than %d entries", r.lim.Entries)}
	}
	r.files++
	if packed, ok := r.src.(*expander); ok && r.lim.Ratio > 0 && r.files*block > slack && r.files*block/r.lim.Ratio > packed.in.n {
		return &Refused{Why: fmt.Sprintf("it makes %d files out of %d bytes, which is more than %d times its size on disk", r.files, packed.in.n, r.lim.Ratio)}
	}
	if err := checkPath(h.Name, r.lim.Depth); err != "" {
		return refuse("%s", err)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeRegA: //nolint:staticcheck // old archives have it
		if h.Size < 0 || h.Size > r.lim.Size-c.Size {
			return refuse("makes the whole larger than %d bytes", r.lim.Size)
		}
		// A few bytes say where the data of a sparse file is, and the unpacker writes
		// all the rest.
		if r.holes += holes(h); r.lim.Ratio > 0 && r.holes > slack {
			return refuse("is a sparse file, and all of them unpack to more than %d bytes", int64(slack))
		}
		c.Size += h.Size
	case tar.TypeDir, tar.TypeFifo, tar.TypeXGlobalHeader:
	case tar.TypeLink:
		if err := checkPath(h.Linkname, r.lim.Depth); err != "" {
			return refuse("is a hard link to %q, which %s", h.Linkname, err)
		}
	case tar.TypeSymlink:
		if len(h.Linkname) >= maxPath || h.Linkname == "" || strings.IndexByte(h.Linkname, 0) >= 0 {
			return refuse("is a symbolic link to what is no path")
		}
	case tar.TypeChar, tar.TypeBlock:
		c.Devices++
	default:
		return refuse("is of the unknown type %q", h.Typeflag)
	}
	if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeRegA && h.Size > 0 && h.Typeflag != tar.TypeLink { //nolint:staticcheck // as above
		return refuse("has %d bytes, and is no file", h.Size)
	}
	if err := checkXattrs(h); err != "" {
		return refuse("%s", err)
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > 1<<32-2 || h.Gid > 1<<32-2 {
		return refuse("belongs to %d:%d, which are no ids", h.Uid, h.Gid)
	}
	c.Owners = c.Owners || h.Uid != 0 || h.Gid != 0
	c.MaxID = max(c.MaxID, h.Uid, h.Gid)
	return nil
}

// holes are the bytes of a sparse file (GNU tar's manual, "Storing Sparse Files"),
// 0 for any other.
func holes(h *tar.Header) int64 {
	for name := range h.PAXRecords {
		if strings.HasPrefix(name, "GNU.sparse.") {
			return h.Size
		}
	}
	return 0
}

// checkPath says why p can't be a path in an image, "" if it can. An absolute
// one is one below the image's root, as every tool takes it.
func checkPath(p string, depth int64) string {
	switch {
	case p == "":
		return "has no name"
	case len(p) >= maxPath:
		return fmt.Sprintf("has a path of %d bytes", len(p))
	case strings.IndexByte(p, 0) >= 0:
		return "has a NUL byte in its path"
	}
	at := int64(0)
	for el := range strings.SplitSeq(p, "/") {
		switch {
		case el == "" || el == ".":
			continue
		case el == "..":
			if at--; at < 0 {
				return "leads out of the image by .."
			}
			continue
		case len(el) > maxName:
			return fmt.Sprintf("has a name of %d bytes", len(el))
		}
		if at++; at > depth {
			return fmt.Sprintf("lies more than %d directories deep", depth)
		}
	}
	if base := path.Base(path.Clean("/" + p)); strings.HasPrefix(base, whiteout) {
		if what := base[len(whiteout):]; what == "" || what == "." || what == ".." || strings.HasPrefix(what, whiteout) && what != ".wh..opq" {
			return "deletes what has no name"
		}
	}
	return ""
}

// checkXattrs says why the extended attributes of h are not taken. Those by
// which overlayfs knows what it did itself would let a layer speak as the file
// system (kernel's Documentation/filesystems/overlayfs.rst, "User xattr").
func checkXattrs(h *tar.Header) string {
	total := 0
	check := func(name string, size int) string {
		if total += len(name) + size; total > maxXattrs {
			return fmt.Sprintf("has more than %d bytes of extended attributes", maxXattrs)
		}
		for _, own := range []string{"user.overlay.", "trusted.overlay.", "user.fuseoverlayfs.", "user.containers."} {
			if strings.HasPrefix(name, own) {
				return fmt.Sprintf("has the extended attribute %q, by which a file system marks its own", name)
			}
		}
		return ""
	}
	for name, v := range h.PAXRecords {
		if x, ok := strings.CutPrefix(name, "SCHILY.xattr."); ok {
			if err := check(x, len(v)); err != "" {
				return err
			}
		}
	}
	return ""
}

// magics begin compressed streams. The unpacker looks for them, so an archive
// whose first entry's name begins like one would not be what was judged.
var magics = []string{"\x1f\x8b\x08", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"}

// begin judges the first bytes.
func (r *Reader) begin() error {
	for _, m := range magics {
		if strings.HasPrefix(string(r.raw[:min(len(r.raw), 8)]), m) {
			return &Refused{Why: "it begins like a compressed one within"}
		}
	}
	return nil
}
