package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Store is the base directory.
type Store struct {
	dir string
}

// Base is the path of the base directory, whether it exists or not.
func Base() string { return base(os.Getenv("XDG_RUNTIME_DIR")) }

// Bases are the paths that Base may have, in this environment and in that of a login:
// a runtime directory that is missing now may be there for the next.
func Bases() []string { return BasesIn(os.Getenv("XDG_RUNTIME_DIR")) }

// BasesIn is Bases where that is XDG_RUNTIME_DIR.
func BasesIn(dir string) []string {
	own := strconv.Itoa(unix.Getuid())
	list := []string{"/run/user/" + own + "/sbx", "/tmp/sbx-" + own}
	if filepath.IsAbs(dir) {
		if mine := filepath.Join(dir, "sbx"); mine != list[0] {
			list = append([]string{mine}, list...)
		}
	}
	return list
}

// absent are the errors of a path that is not there for this user.
var absent = []error{unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP, unix.ENAMETOOLONG}

func base(dir string) string {
	if filepath.IsAbs(dir) {
		var st unix.Stat_t
		switch err := unix.Stat(dir, &st); {
		// Who became another user has the other's runtime directory in the
		// environment at times (su, sudo).
		case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == unix.Getuid():
			return filepath.Join(dir, "sbx")
		// What could not be looked at is no reason to hide another place.
		case err != nil && !slices.Contains(absent, err):
			return filepath.Join(dir, "sbx")
		}
	}
	return "/tmp/sbx-" + strconv.Itoa(unix.Getuid())
}

// Dir is the directory of the sandbox with an id, whether it exists or not.
func Dir(id string) string { return filepath.Join(Base(), id) }

// Open returns the store, and makes its directory if that is missing.
func Open() (*Store, error) {
	dir := Base()
	if err := checkPrivate(dir); !errors.Is(err, unix.ENOENT) {
		return &Store{dir}, err
	}
	if err := unix.Mkdir(dir, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return &Store{dir}, checkPrivate(dir)
}

// OpenExisting is Open for who only looks: it makes nothing, and returns nil
// where there is no store.
func OpenExisting() (*Store, error) {
	dir := Base()
	if err := checkPrivate(dir); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		return nil, err
	}
	return &Store{dir}, nil
}

// checkPrivate refuses a directory that somebody else made or can change. In
// /tmp anybody may make one, or a link, before the caller does.
func checkPrivate(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != unix.Getuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s must be a directory of yours with mode 0700, since sbx believes what lies in it; remove it, or mend its owner and mode", dir)
	}
	return nil
}

// Path is where the store lies.
func (s *Store) Path() string { return s.dir }

func (s *Store) path(id string) string { return filepath.Join(s.dir, id) }

func (s *Store) namePath(name string) string { return filepath.Join(s.dir, "names", name) }

// lock keeps other processes from giving away, changing and removing names
// until the returned function is called.
func (s *Store) lock() (unlock func(), err error) {
	return flock(filepath.Join(s.dir, "lock"), unix.O_RDWR|unix.O_CREAT)
}

func flock(path string, flags int) (unlock func(), err error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	for {
		err := unix.Flock(fd, unix.LOCK_EX)
		if err == nil {
			return func() { unix.Close(fd) }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			unix.Close(fd)
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
	}
}
