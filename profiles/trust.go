package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// UntrustedError says that a project's profile asks for more than the user's
// own profile grants, and that the user has not agreed.
type UntrustedError struct {
	Path    string  `json:"path"`
	Grants  []Grant `json:"grants"`
	Command string  `json:"command"` // what the user runs to agree
}

func (e *UntrustedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s lies in a project, or others can write it, and asks for more than your own profile grants:\n", e.Path)
	for _, g := range e.Grants {
		fmt.Fprintf(&b, "  %s\n", g)
	}
	fmt.Fprintf(&b, "read it, and if you agree run: %s", e.Command)
	return b.String()
}

// CheckTrust returns an *UntrustedError if p came with a project, grants more
// than base, and is not in the trust store as it is now. base may be nil, then
// it is Base(p, e), loaded only when it is needed. Call it with the profile as
// Load returned it: what the user's own flags change needs no agreement.
func CheckTrust(p, base *Profile, e Env) error {
	if len(p.ProjectFiles()) == 0 {
		return nil
	}
	if base == nil {
		var err error
		if base, err = Base(p, e); err != nil {
			return err
		}
	}
	grants := p.Widens(base)
	if len(grants) == 0 {
		return nil
	}
	trusted, err := OpenTrust(e).Trusted(p)
	if trusted || err != nil {
		return err
	}
	path := p.Files[len(p.Files)-1]
	return &UntrustedError{Path: path, Grants: grants, Command: "sbx trust " + shellQuote(path)}
}

// Base loads what a project's profile p is measured against: Default, with p's
// workspace.
func Base(p *Profile, e Env) (*Profile, error) {
	ref, err := Default(e)
	if err != nil {
		return nil, err
	}
	return baseOf(ref, p, e)
}

// NamedBase is Base where the user has named a profile for what is run in a project that
// has none of its own, such as that of a shim. The errors are those of Find and Load.
func NamedBase(name string, p *Profile, e Env) (*Profile, error) {
	ref, err := Find(name, e)
	if err != nil {
		return nil, err
	}
	return baseOf(ref, p, e)
}

func baseOf(ref Ref, p *Profile, e Env) (*Profile, error) {
	l, err := open(ref, e)
	if err != nil {
		return nil, fmt.Errorf("reading profile %s: %w", ref, err)
	}
	return load(l, e, p.Workspace.Path)
}

// ProjectFiles returns those of p's files that came with a project and not
// from the user: .sbx.toml anywhere, files below the current directory or in a
// work tree of a version control system, and files that somebody else owns or
// may write. Files in the user's and the administrator's profile directories
// are never a project's.
func (p *Profile) ProjectFiles() []string {
	if p.merged == nil {
		return nil
	}
	var files []string
	for _, l := range p.merged.layers {
		if l.path != "" && isProject(l.path, p.merged.env) {
			files = append(files, l.path)
		}
	}
	if policy := p.Security.Seccomp; SeccompFile(policy) && isProject(policy, p.merged.env) {
		files = append(files, policy)
	}
	return files
}

func isProject(path string, e Env) bool {
	dir := filepath.Dir(path)
	if dir == e.userDir() || dir == e.systemDir() {
		return false
	}
	if filepath.Base(path) == ProjectFile || e.Cwd != "" && within(path, e.Cwd) || e.inWorkTree(dir) {
		return true
	}
	real, err := e.Seen.EvalSymlinks(path)
	if err != nil {
		return true
	}
	if e.Cwd != "" && within(real, e.follow(e.Cwd)) || e.inWorkTree(filepath.Dir(real)) {
		return true
	}
	st, err := e.Seen.Stat(real)
	return err != nil || !ownedSafely(&st, e.UID)
}

// ownedSafely reports whether only the user or root could have written a file.
func ownedSafely(st *unix.Stat_t, uid int) bool {
	return (int(st.Uid) == uid || st.Uid == 0) && st.Mode&0o022 == 0
}

// inWorkTree reports whether dir, or a directory above it that is not the home
// or above the home, is the top of a work tree.
func (e Env) inWorkTree(dir string) bool {
	for ; filepath.IsAbs(dir) && !within(e.Home, dir); dir = filepath.Dir(dir) {
		for _, name := range []string{".git", ".hg", ".jj", ".svn"} {
			if _, err := e.Seen.Lstat(filepath.Join(dir, name)); err == nil {
				return true
			}
		}
		if dir == "/" {
			break
		}
	}
	return false
}

// shellQuote writes a word so that a POSIX shell reads it back.
func shellQuote(s string) string {
	plain := s != ""
	for i := range len(s) {
		plain = plain && isWord(s[i], "/._-+:@%,")
	}
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// TrustStore is the directory with one small file for each profile that the
// user agreed to. A file's name is a hash of the profile's path and text and
// of those of every file it extends, so any change takes the trust away.
type TrustStore struct {
	dir  string // "" = there is no home
	uid  int
	seen *seen.Log
}

// Dir is where the store lies, "" where there is no home.
func (s TrustStore) Dir() string { return s.dir }

// TrustEntry is one profile that the user agreed to.
type TrustEntry struct {
	Path  string    `json:"path"`
	Files []string  `json:"files"` // all that were hashed
	Time  time.Time `json:"time"`
	Hash  string    `json:"-"`
}

// OpenTrust names the store of e's user; nothing is touched.
func OpenTrust(e Env) TrustStore {
	dir := e.xdg("XDG_STATE_HOME", ".local/state")
	if dir == "" {
		return TrustStore{uid: e.UID, seen: e.Seen}
	}
	return TrustStore{dir: filepath.Join(dir, "sbx", "trust"), uid: e.UID, seen: e.Seen}
}

// fingerprint hashes the files of p, the one that was named first. ok is false
// for a profile that did not come from a file.
func fingerprint(p *Profile) (entry TrustEntry, ok bool) {
	if p.merged == nil {
		return TrustEntry{}, false
	}
	layers := slices.Clone(p.merged.layers)
	slices.Reverse(layers)
	if layers[0].path == "" {
		return TrustEntry{}, false
	}
	all := sha256.New()
	for _, l := range layers {
		if l.path == "" {
			continue // a built-in is as trusted as the program
		}
		text := sha256.Sum256([]byte(l.text))
		fmt.Fprintf(all, "%s\n%x\n", strconv.Quote(l.path), text)
		entry.Files = append(entry.Files, l.path)
	}
	if s := &p.Security; SeccompFile(s.Seccomp) {
		text := sha256.Sum256([]byte(s.SeccompText))
		fmt.Fprintf(all, "%s\n%x\n", strconv.Quote(s.Seccomp), text)
		entry.Files = append(entry.Files, s.Seccomp)
	}
	entry.Path = layers[0].path
	entry.Hash = hex.EncodeToString(all.Sum(nil))
	return entry, true
}

// Fingerprint is the hash by which the store knows p, "" for a profile that did
// not come from a file.
func Fingerprint(p *Profile) string {
	entry, _ := fingerprint(p)
	return entry.Hash
}

// Holds says whether the user has agreed to the profile with a fingerprint, and
// not taken that back. Only Trusted can say whether it is one's own word.
func (s TrustStore) Holds(hash string) bool {
	_, err := s.seen.Lstat(filepath.Join(s.dir, hash))
	return s.dir != "" && hash != "" && err == nil
}

// Trusted reports whether the user agreed to p as it was loaded. A store that
// others could have written to is an error.
func (s TrustStore) Trusted(p *Profile) (bool, error) {
	entry, ok := fingerprint(p)
	if !ok || s.dir == "" {
		return false, nil
	}
	if err := s.check(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return false, err
	}
	have, err := s.read(entry.Hash)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && have.Path == entry.Path, err
}

// Trust notes that the user agrees to p as it was loaded. What the user agreed
// to before for the same path is taken away.
func (s TrustStore) Trust(p *Profile) error {
	entry, ok := fingerprint(p)
	if !ok {
		return errors.New("only a profile in a file can be trusted, save it to one first")
	}
	if s.dir == "" {
		return errors.New("there is no home directory for the trust store, set XDG_STATE_HOME")
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("making the trust store: %w", err)
	}
	if err := s.check(); err != nil {
		return err
	}
	entry.Time = time.Now().UTC().Truncate(time.Second)
	text, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	if err := s.write(entry.Hash, append(text, '\n')); err != nil {
		return err
	}
	_, err = s.remove(entry.Path, entry.Hash)
	return err
}

// write makes a file of the store appear as a whole.
func (s TrustStore) write(name string, text []byte) error {
	temp := filepath.Join(s.dir, "."+name+"."+strconv.Itoa(os.Getpid()))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("writing the trust store: %w", err)
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync() // before the name, or a loss of power could leave it with nothing behind it
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(s.dir, name))
	}
	if err != nil {
		os.Remove(temp)
		return fmt.Errorf("writing the trust store: %w", err)
	}
	return nil
}

// Untrust takes the user's agreement to the profile at path away and returns
// how many entries there were.
func (s TrustStore) Untrust(path string) (int, error) { return s.remove(path, "") }

// remove is Untrust but for the entry of one hash.
func (s TrustStore) remove(path, but string) (int, error) {
	entries, err := s.List()
	if err != nil {
		return 0, err
	}
	gone := 0
	for _, entry := range entries {
		if entry.Path != filepath.Clean(path) || entry.Hash == but {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, entry.Hash)); err != nil {
			return gone, fmt.Errorf("removing from the trust store: %w", err)
		}
		gone++
	}
	return gone, nil
}

// List returns the store's entries, sorted by path. Files that are not entries
// are left out: they grant nothing.
func (s TrustStore) List() ([]TrustEntry, error) {
	if s.dir == "" {
		return nil, nil
	}
	if err := s.check(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("reading the trust store: %w", err)
	}
	var entries []TrustEntry
	for _, f := range files {
		if len(f.Name()) != hex.EncodedLen(sha256.Size) {
			continue
		}
		if entry, err := s.read(f.Name()); err == nil {
			entries = append(entries, entry)
		}
	}
	slices.SortFunc(entries, func(a, b TrustEntry) int { return strings.Compare(a.Path, b.Path) })
	return entries, nil
}

// read reads one entry, which must be a file of the user's alone.
func (s TrustStore) read(hash string) (TrustEntry, error) {
	path := filepath.Join(s.dir, hash)
	fd, err := s.seen.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return TrustEntry{}, fmt.Errorf("reading the trust store: %w", &fs.PathError{Op: "open", Path: path, Err: err})
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return TrustEntry{}, fmt.Errorf("reading the trust store: %w", &fs.PathError{Op: "stat", Path: path, Err: err})
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || !ownedSafely(&st, s.uid) {
		return TrustEntry{}, fmt.Errorf("%s may have been written by another user, remove it", path)
	}
	text, err := readAll(descriptor(fd))
	if err != nil {
		return TrustEntry{}, fmt.Errorf("reading the trust store: %w", err)
	}
	entry := TrustEntry{Hash: hash}
	if err := json.Unmarshal([]byte(text), &entry); err != nil {
		return TrustEntry{}, fmt.Errorf("reading the trust store: %s: %w", path, err)
	}
	return entry, nil
}

// check refuses a store that somebody else could put entries into. A store
// that is not there is fs.ErrNotExist.
func (s TrustStore) check() error {
	for _, dir := range []string{filepath.Dir(s.dir), s.dir} {
		st, err := s.seen.Lstat(dir)
		if err != nil {
			return fmt.Errorf("reading the trust store: %w", &fs.PathError{Op: "lstat", Path: dir, Err: err})
		}
		switch typ := st.Mode & unix.S_IFMT; {
		case typ == unix.S_IFLNK:
			return fmt.Errorf("the trust store's directory %s is a symbolic link, make it a directory", dir)
		case typ != unix.S_IFDIR:
			return fmt.Errorf("the trust store's directory %s is not a directory, remove it", dir)
		case int(st.Uid) != s.uid:
			return fmt.Errorf("the trust store's directory %s belongs to another user, remove it", dir)
		case st.Mode&0o022 != 0:
			return fmt.Errorf("the trust store's directory %s may be written by others, run: chmod go-w %s", dir, shellQuote(dir))
		}
	}
	return nil
}
