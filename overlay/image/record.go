// Package image is what is known of the images that sandboxes can have as
// their root: plain data, which sbx-store writes and sbx reads, so that a run
// on an image starts no second program. In sbx's directory of data:
//
//	images/               0700
//	    index.json        which name means which image: an Index
//	    records/ID.json   one image: a Record
//	    records/ID.lock   locked (flock(2)), shared, by each run on the image
//	    lock              locked by who changes any of this
//	    partial/          what came of layers whose pull did not end
//	    storage/          the layers, kept by sbx-store and by nobody else
//	    mnt/              an empty directory, where a run has its mounts
//
// What an image holds is not to be trusted. What is here is: it was read from
// the image once, by sbx-store, with bounds and by descriptors.
package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/userns"
)

// Version is the version of the JSON form of an Index and of a Record.
const Version = 1

// The names in the directory of images.
const (
	indexFile  = "index.json"
	recordsDir = "records"
	// Storage is the directory that containers/storage keeps.
	Storage = "storage"
	// Scratch is where a run mounts what it builds its root from.
	Scratch = "mnt"
)

// Layers is the directory of layers, relative to that of images: the working
// directory of the mount that stacks them.
const Layers = Storage + "/overlay"

// MaxLayers is the most layers of one image. The options of mount(2) are one
// page, and each layer takes 29 bytes of it.
const MaxLayers = 127

// Index says which name means which image.
type Index struct {
	Version int               `json:"version"`
	Names   map[string]string `json:"names"` // "debian:12" → Record.ID
	IDs     []string          `json:"ids"`   // of all images, with names or without
	// Stamp is of the storage's own list of images, as it was when this was written.
	Stamp string `json:"stamp"`
}

// Record is one image.
type Record struct {
	Version  int       `json:"version"`
	ID       string    `json:"id"`     // digest of its configuration, 64 hexadecimal digits
	Digest   string    `json:"digest"` // of its manifest, "sha256:...", "" when it was made here
	Names    []string  `json:"names"`
	Created  time.Time `json:"created"`
	Imported time.Time `json:"imported"`
	Source   string    `json:"source"` // where it came from, as the person wrote it
	Size     int64     `json:"size"`   // bytes of its layers' files
	Arch     string    `json:"arch"`
	OS       string    `json:"os"`

	// Layers are the links to its layers in the directory Layers, the topmost first.
	Layers []string `json:"layers"`
	// Digests are the layers' contents (their diff IDs), in the same order.
	Digests []string `json:"digests"`
	// IDs are the maps that the layers were unpacked with: an owner on disk is an
	// Outside id, and in the image it was the Inside one.
	IDs IDs `json:"ids"`
	// Owners says that files belong to other ids than 0.
	Owners bool `json:"owners"`

	Config  Config  `json:"config"`
	Account Account `json:"account"`
	// Links are the symbolic links in the image's topmost directory, such as
	// "bin": "usr/bin", and of those files in /etc that a sandbox has its own of.
	Links map[string]string `json:"links,omitempty"`
	// Passwd and Group are the image's files of these names, "" where it has none
	// that can be used.
	Passwd string `json:"passwd,omitempty"`
	// EtcOwner is whom /etc belongs to; nothing can be made in one that belongs to
	// an id that is not mapped.
	EtcOwner uint32 `json:"etc_owner,omitempty"`
	Group    string `json:"group,omitempty"`
}

// IDs are the maps of the user namespace that layers were unpacked in.
type IDs struct {
	Mode string     `json:"mode"` // "single" or "range"
	UIDs userns.Map `json:"uids"`
	GIDs userns.Map `json:"gids"`
}

// Config is what the image says of how it is run (OCI image specification,
// config.md).
type Config struct {
	Env        []string          `json:"env,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	WorkingDir string            `json:"working_dir,omitempty"`
	User       string            `json:"user,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	StopSignal string            `json:"stop_signal,omitempty"`
}

// Account is who Config.User is, by the image's own files.
type Account struct {
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	Name string `json:"name,omitempty"`
	Home string `json:"home,omitempty"`
	// Problem is why Config.User means nobody, "" if it means someone.
	Problem string `json:"problem,omitempty"`
}

// ErrNone is that there is no such image.
var ErrNone = errors.New("no such image")

// maxIndex and maxRecord bound what is read, in bytes.
const (
	maxIndex  = 16 << 20
	maxRecord = 8 << 20
)

// RecordPath is the file of the record of the image id below dir.
func RecordPath(dir, id string) string { return filepath.Join(dir, recordsDir, id+".json") }

// LockPath is the file that a run on the image id below dir holds locked.
func LockPath(dir, id string) string { return filepath.Join(dir, recordsDir, id+".lock") }

// LoadIndex reads the index in the directory of images; there is an empty one
// where no image ever was. stale says that the storage changed since.
func LoadIndex(dir string) (x Index, stale bool, err error) {
	text, err := readSmall(filepath.Join(dir, indexFile), maxIndex)
	if errors.Is(err, unix.ENOENT) {
		return Index{Version: Version}, Stamp(dir) != "", nil
	}
	if err != nil {
		return x, false, fmt.Errorf("reading the index of images: %w", err)
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return x, false, fmt.Errorf("reading the index of images %s: %w", filepath.Join(dir, indexFile), err)
	}
	if x.Version != Version {
		return x, false, fmt.Errorf("the index of images %s is of version %d, this sbx knows %d", filepath.Join(dir, indexFile), x.Version, Version)
	}
	return x, x.Stamp != Stamp(dir), nil
}

// Find is the id that name means: a name, one without its tag for "latest", the
// last part of a name, or the beginning of an id, six digits of it at least.
// The error is ErrNone where there is none.
func (x Index) Find(name string) (id string, err error) {
	full := Tagged(name)
	if id, ok := x.Names[full]; ok {
		return id, nil
	}
	var ids, names []string
	add := func(id, name string) {
		for _, have := range ids {
			if have == id {
				return
			}
		}
		ids, names = append(ids, id), append(names, name)
	}
	for n, id := range x.Names {
		if strings.HasSuffix(n, "/"+full) {
			add(id, n)
		}
	}
	if len(ids) == 0 && len(name) >= 6 && strings.Trim(name, "0123456789abcdef") == "" {
		for _, id := range x.IDs {
			if strings.HasPrefix(id, name) {
				add(id, id[:12])
			}
		}
	}
	switch len(ids) {
	case 0:
		return "", ErrNone
	case 1:
		return ids[0], nil
	}
	return "", fmt.Errorf("%q means more than one image: %s", name, strings.Join(names, ", "))
}

// Tagged adds the tag "latest" to a name that has neither a tag nor a digest.
func Tagged(name string) string {
	last := name[strings.LastIndexByte(name, '/')+1:]
	if strings.ContainsAny(last, ":@") {
		return name
	}
	return name + ":latest"
}

// CheckName says why an image can't be called name, nil if it can. Names are
// those of the OCI's distribution: lower case, parts between slashes, a tag.
func CheckName(name string) error {
	bad := func(why string) error {
		return fmt.Errorf("%q can't be an image's name: %s, write for example debian:12", name, why)
	}
	rest, digest, pinned := strings.Cut(name, "@")
	if pinned && !isDigest(digest) {
		return bad("what follows the @ is no digest")
	}
	last := strings.LastIndexByte(rest, '/') + 1
	base, tag, tagged := strings.Cut(rest[last:], ":")
	if tagged && (len(tag) > 128 || tag == "" || strings.ContainsAny(tag[:1], ".-") || strings.ContainsFunc(tag, func(r rune) bool { return !ofTag(r) })) {
		return bad("its tag is not of letters, digits, '.', '_' and '-'")
	}
	if len(name) > 255 {
		return bad("it is longer than 255 bytes")
	}
	parts := strings.Split(rest[:last]+base, "/")
	for i, p := range parts {
		if i == 0 && len(parts) > 1 { // a registry may have a port
			host, port, _ := strings.Cut(p, ":")
			if strings.Trim(port, "0123456789") != "" {
				return bad("its port is no number")
			}
			p = strings.ToLower(host)
		}
		if p == "" || strings.ContainsAny(p[:1], "._-") || strings.ContainsFunc(p, func(r rune) bool { return !ofTag(r) || r >= 'A' && r <= 'Z' }) {
			return bad("each part is of small letters, digits, '.', '_' and '-', and begins with one of the first two")
		}
	}
	return nil
}

func ofTag(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// Load reads the record of the image id.
func Load(dir, id string) (*Record, error) {
	text, err := readSmall(RecordPath(dir, id), maxRecord)
	if err != nil {
		return nil, fmt.Errorf("reading the record of the image %s: %w", short(id), err)
	}
	r := &Record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("reading the record of the image %s: %w", short(id), err)
	}
	return r, r.check(id)
}

// check refuses a record that can't be mounted: the layers' names become part
// of mount options.
func (r *Record) check(id string) error {
	if r.Version != Version || r.ID != id {
		return fmt.Errorf("the record of the image %s is of version %d and of %s; sbx image ls writes it anew", short(id), r.Version, short(r.ID))
	}
	if len(r.Layers) == 0 || len(r.Layers) > MaxLayers {
		return fmt.Errorf("the image %s has %d layers; 1 to %d can be stacked", short(id), len(r.Layers), MaxLayers)
	}
	for _, l := range r.Layers {
		if err := CheckLayer(l); err != nil {
			return err
		}
	}
	return nil
}

// CheckLayer says why l can't be the name of a layer in mount options, nil if
// it can.
func CheckLayer(l string) error {
	if len(l) < 3 || len(l) > 40 || l[:2] != "l/" || strings.Trim(l[2:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return fmt.Errorf("%q is not the name of a layer", l)
	}
	return nil
}

func short(id string) string { return id[:min(len(id), 12)] }

// Stamp tells one state of the storage's list of images from another; "" where
// there is none.
func Stamp(dir string) string {
	var st unix.Stat_t
	if unix.Stat(filepath.Join(dir, Storage, "overlay-images/images.json"), &st) != nil {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", st.Ino, st.Size, st.Mtim.Nano())
}

// readSmall reads a file of at most limit bytes that no link leads to.
func readSmall(path string, limit int) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > int64(limit) {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, limit)
	}
	text := make([]byte, st.Size)
	for n := 0; n < len(text); {
		m, err := unix.Read(fd, text[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || m == 0 {
			return text[:n], err
		}
		n += m
	}
	return text, nil
}
