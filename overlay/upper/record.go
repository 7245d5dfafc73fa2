// Package upper keeps the layers that sandboxes write to when the host's files
// are not to change. Each has a directory of sbx's own:
//
//	$XDG_DATA_HOME/sbx/overlays/NAME/
//	    record.json   what it is and what it lies on: a Record
//	    lock          held (flock(2)) while a sandbox runs on it, or it is applied
//	    upper/ work/  the first layer's directories, as overlayfs wants them
//	    upper-1/ ...  those of further layers
//
// All of it was written by programs in a sandbox or lies beside what was: nothing
// in upper/ is to be trusted, nor opened by its path.
package upper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/userns"
)

// RecordVersion is the version of a record's JSON form.
const RecordVersion = 1

// The drivers. Each has marks of its own for what is deleted and what hides the
// lower layers, so that an upper can only be read by the one that wrote it.
const (
	Kernel = "kernel"         // overlayfs of the kernel with the option userxattr
	Fuse   = "fuse-overlayfs" // fuse-overlayfs(1)
)

// Record is what is known of one set of layers. It is written when a sandbox
// first starts on it, and again for each later one.
type Record struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	// Unnamed is that nobody chose the name, and nobody has gone on with it by that
	// name since.
	Unnamed bool   `json:"unnamed,omitempty"`
	Driver  string `json:"driver"`
	// Profile, Dir and Argv are the run that made it: the profile's name, the
	// host's directory that sbx was started in, the command. Argv is the
	// caller's text and may hold anything.
	Profile string   `json:"profile"`
	Dir     string   `json:"dir"`
	Argv    []string `json:"argv,omitempty"`

	Layers []Layer `json:"layers"` // never empty; the workspace's first, if it has one
	IDs    IDs     `json:"ids"`

	Created time.Time `json:"created"`
	Used    time.Time `json:"used"` // when the last sandbox on it started
	// Base is the time of the first start, in nanoseconds since 1970: a file of a
	// lower layer whose change time is later may have changed since. It stays the
	// first start's when the upper is used again, unless that is empty then.
	Base int64 `json:"base"`
	// Boot is the kernel's boot id at the last start, of
	// /proc/sys/kernel/random/boot_id.
	Boot string `json:"boot"`
	// Generation counts the starts and whatever else changed the layers.
	Generation int `json:"generation"`
	// Size is the bytes it may grow to, 0 for no bound.
	Size int64 `json:"size,omitempty"`
	// Snapshots are the names of copies that were made of it, oldest first.
	Snapshots []string `json:"snapshots,omitempty"`
	// Restoring is the snapshot that is being put back; left there by one that was
	// killed, the layers are not whole.
	Restoring string `json:"restoring,omitempty"`
}

// Layer is one place of the sandbox that was written to in place of the host's.
type Layer struct {
	Target string `json:"target"` // absolute path inside
	// Lower are the host's directories below it, the topmost first, free of
	// symbolic links when the sandbox started.
	Lower []string `json:"lower"`
	// Device and Inode are st_dev and st_ino of each lower at the first start.
	// A device number is good only within one boot.
	Device []uint64 `json:"device"`
	Inode  []uint64 `json:"inode"`
	Upper  string   `json:"upper"` // names in the record's directory: "upper", "upper-1"
	Work   string   `json:"work"`  // "work", "work-1"
	// Image is the id of the image that Lower are the layers of, "" for the
	// host's directories.
	Image string `json:"image,omitempty"`
	// Made are paths below Target, each with a slash before it, that sbx makes to
	// mount on, where there is nothing: they are no change of the sandbox's.
	Made []string `json:"made,omitempty"`

	mode uint32 // permissions of the topmost lower, while the upper is made
}

// IDs are the maps of the user namespace that the layers were written in. An
// owner on disk is an Outside id; inside it was the Inside one.
type IDs struct {
	Mode string     `json:"mode"` // "single" or "range"
	UIDs userns.Map `json:"uids"`
	GIDs userns.Map `json:"gids"`
}

// The files of a record's directory.
const (
	recordFile = "record.json"
	lockFile   = "lock"
)

// maxRecord bounds what is read of a record, in bytes.
const maxRecord = 4 << 20

// CheckName says why name can't be an overlay's name, nil if it can. It never
// begins with a dot, and never leads out of a directory.
func CheckName(name string) error {
	const most = 64
	ok := name != "" && len(name) <= most
	for i := range len(name) {
		b := name[i]
		alnum := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
		ok = ok && (alnum || i > 0 && (b == '.' || b == '_' || b == '-'))
	}
	if !ok {
		return fmt.Errorf("%q is no name of an overlay: 1 to %d letters, digits, dots, underscores and hyphens, a letter or digit first", name, most)
	}
	return nil
}

// Path is a layer's directory: dir is the record's, name is the layer's Upper or
// Work.
func Path(dir, name string) string { return filepath.Join(dir, name) }

// Validate says what makes r no record.
func (r *Record) Validate() error {
	if r.Version != RecordVersion {
		return fmt.Errorf("version %d of a record, this sbx knows %d", r.Version, RecordVersion)
	}
	errs := []error{CheckName(r.Name)}
	if r.Driver != Kernel && r.Driver != Fuse {
		errs = append(errs, fmt.Errorf("driver %q", r.Driver))
	}
	if len(r.Layers) == 0 {
		errs = append(errs, errors.New("no layers"))
	}
	for i := range r.Layers {
		errs = append(errs, r.Layers[i].validate())
	}
	for _, s := range r.Snapshots {
		errs = append(errs, CheckName(s))
	}
	return errors.Join(append(errs, r.IDs.UIDs.Validate(), r.IDs.GIDs.Validate())...)
}

func (l *Layer) validate() error {
	var errs []error
	for _, p := range slices.Concat([]string{l.Target}, l.Lower, l.Made) {
		if !path.IsAbs(p) || path.Clean(p) != p || strings.IndexByte(p, 0) >= 0 {
			errs = append(errs, fmt.Errorf("%q is not an absolute, clean path", p))
		}
	}
	if len(l.Lower) == 0 || len(l.Device) != len(l.Lower) || len(l.Inode) != len(l.Lower) {
		errs = append(errs, fmt.Errorf("layer %s with %d lowers, %d devices and %d inodes", l.Target, len(l.Lower), len(l.Device), len(l.Inode)))
	}
	return errors.Join(append(errs, CheckName(l.Upper), CheckName(l.Work))...)
}

// Load reads the record of the directory dir, which must be a directory of the
// caller's that nobody else can write, and no symbolic link.
func Load(dir string) (*Record, error) {
	r, err := read(dir)
	if err == nil && r.Name != filepath.Base(dir) {
		return nil, fmt.Errorf("%s: it is the record of %q", filepath.Join(dir, recordFile), r.Name)
	}
	return r, err
}

func load(fd int, dir string) (*Record, error) {
	file := filepath.Join(dir, recordFile)
	f, err := unix.Openat(fd, recordFile, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: file, Err: err}
	}
	in := os.NewFile(uintptr(f), file)
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxRecord+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxRecord {
		return nil, fmt.Errorf("%s: more than %d bytes", file, maxRecord)
	}
	r := &Record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := unpath(r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// Save writes r into the directory dir in place of the record there, by rename:
// killed anywhere, the old or the new one is there. The caller holds the lock.
func Save(dir string, r *Record) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("BUG: writing a record: %w", err)
	}
	text, err := json.MarshalIndent(enpath(r), "", "  ")
	if err != nil {
		return err
	}
	fd, err := openOwn(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const tmp = recordFile + ".new"
	file := filepath.Join(dir, recordFile)
	if err := unix.Unlinkat(fd, tmp, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unlink", Path: file + ".new", Err: err}
	}
	f, err := unix.Openat(fd, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: file + ".new", Err: err}
	}
	out := os.NewFile(uintptr(f), file+".new")
	_, err = out.Write(append(text, '\n'))
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err == nil {
		if err = unix.Renameat(fd, tmp, fd, recordFile); err != nil {
			err = &os.PathError{Op: "rename", Path: file, Err: err}
		}
	}
	if err != nil {
		_ = unix.Unlinkat(fd, tmp, 0)
	}
	return err
}

// openOwn opens a directory of sbx's own: the caller's, that nobody else can
// write, and no link.
func openOwn(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if int(st.Uid) != unix.Geteuid() || st.Mode&0o022 != 0 {
		unix.Close(fd)
		return -1, fmt.Errorf("%s must be a directory of yours that nobody else can write; remove it or mend its mode", dir)
	}
	return fd, nil
}

// Now is a time, in nanoseconds since 1970, that no file was changed after so far,
// and that files which are changed from now on will have been changed after: it
// waits until the clock that file systems stamp inodes by has come to it
// (CLOCK_REALTIME_COARSE, clock_gettime(2)), which ticks every few milliseconds.
func Now() int64 {
	read := func(clock int32) int64 {
		var ts unix.Timespec
		_ = unix.ClockGettime(clock, &ts) // these clocks always exist
		return ts.Nano()
	}
	now := read(unix.CLOCK_REALTIME)
	for i := 0; i < 100 && read(unix.CLOCK_REALTIME_COARSE) <= now; i++ {
		time.Sleep(time.Millisecond)
	}
	return now
}
