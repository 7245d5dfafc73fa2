package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// TakenError is a name that a sandbox has already. ID is "" for one that got it just
// now.
type TakenError struct{ Name, ID string }

func (e *TakenError) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("a sandbox that was started at the same time took the name %s; choose another", e.Name)
	}
	return fmt.Sprintf("the name %s is taken by the sandbox %s; choose another, or remove that one: sbx rm %s", e.Name, e.ID, e.Name)
}

// New makes the directory of a new sandbox and writes its record, in which the
// ids of this process, the time, and what is not said yet of name and id are
// filled in. A sandbox without a name gets one of its profile's and its id; one
// with a name gets it only if no other has it.
func (s *Store) New(r *Record) error {
	if r.Name != "" {
		if err := CheckName(r.Name); err != nil {
			return err
		}
	}
	at, err := lookHere()
	if err != nil {
		return err
	}
	if r.Supervisor, err = Look(os.Getpid()); err != nil {
		return err
	}
	r.Version, r.Boot, r.PIDNS = Version, at.boot, at.pidns
	if r.Created.IsZero() {
		r.Created = time.Now()
	}
	again := false // its directory may be there: it was registered before
	switch {
	case r.ID != "":
		again = true
	case r.Unrecorded:
		r.ID = DerivedID(r.Supervisor, r.Boot)
	default:
		if r.ID, err = NewID(); err != nil {
			return err
		}
	}
	dir := s.path(r.ID)
	if err := unix.Mkdir(dir, 0o700); err != nil && !(again && errors.Is(err, unix.EEXIST)) {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	if err := checkPrivate(dir); err != nil {
		return err
	}
	named := r.Name != "" && r.Name != DerivedName(r.ID)
	if !named {
		r.Name = DerivedName(r.ID)
	}
	if err := s.Save(r); err != nil {
		_ = unix.Rmdir(dir)
		return err
	}
	if !named {
		return nil
	}
	if err := s.claim(r.Name, r.ID); err != nil {
		_ = s.clear(r.ID)
		return err
	}
	return nil
}

// Save writes the record, whole or not at all.
//
// Precondition: this process is the sandbox's supervisor, or there is none any
// more.
func (s *Store) Save(r *Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.WriteFile(r.ID, recordFile, text)
}

// WriteFile puts a file in a sandbox's directory, whole or not at all.
func (s *Store) WriteFile(id, name string, text []byte) error {
	dir := s.path(id)
	unique, err := NewID() // no other writer's: two of them would mix in one file
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, pendingFile+"."+unique)
	fd, err := unix.Open(tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: tmp, Err: err}
	}
	err = writeAll(fd, text)
	unix.Close(fd)
	if err == nil {
		err = unix.Rename(tmp, filepath.Join(dir, name))
	}
	if err != nil {
		_ = unix.Unlink(tmp)
		return &os.PathError{Op: "write", Path: filepath.Join(dir, name), Err: err}
	}
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// claim gives the name to id.
func (s *Store) claim(name, id string) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return s.give(name, id)
}

// give gives the name to id. A link to a sandbox that is gone, or whose record has
// another name, is nobody's, and a record that is being buried has no claim:
// burying takes the lock as well.
//
// Precondition: the caller holds the lock, until the record of id has the name.
func (s *Store) give(name, id string) error {
	names := filepath.Join(s.dir, "names")
	if err := unix.Mkdir(names, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: names, Err: err}
	}
	if err := checkPrivate(names); err != nil {
		return err
	}
	path := s.namePath(name)
	for range 2 {
		err := unix.Symlink("../"+id, path)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "symlink", Path: path, Err: err}
		}
		switch other := s.takenBy(name); other {
		case "":
		case id:
			return nil
		default:
			return &TakenError{Name: name, ID: other}
		}
		_ = unix.Unlink(path) // whoever had it is gone
	}
	return &TakenError{Name: name}
}

// takenBy is the id of the sandbox that has a name, "" for none. It changes
// nothing.
func (s *Store) takenBy(name string) string {
	to, err := os.Readlink(s.namePath(name))
	if err != nil {
		return ""
	}
	at, err := lookHere()
	id := filepath.Base(to)
	if err != nil || !ValidID(id) {
		return ""
	}
	r, err := s.read(id)
	if errors.Is(err, os.ErrNotExist) || err == nil && (r.Name != name || r.abandoned(at) && !r.Keep) {
		return ""
	}
	return id // also where its record can't be read: who knows what it is
}

// abandoned says that the sandbox's supervisor is dead and had no time to say
// that the sandbox has ended.
func (r *Record) abandoned(at here) bool {
	switch {
	case !r.Alive():
		return false
	case r.Boot != at.boot:
		return true
	case r.PIDNS != at.pidns:
		return false // who lives in another PID namespace can't be seen
	}
	return !r.Supervisor.Lives()
}

// holder is the sandbox that has a name.
func (s *Store) holder(name string) (Record, error) {
	to, err := os.Readlink(s.namePath(name))
	if err != nil {
		return Record{}, err
	}
	r, err := s.Load(filepath.Base(to))
	if err == nil && r.Name != name {
		return Record{}, os.ErrNotExist
	}
	return r, err
}

// Linked is the id that the link of a name leads to, "" where there is none. It is for
// where the record can't be read.
func (s *Store) Linked(name string) string {
	if s == nil || CheckName(name) != nil {
		return ""
	}
	to, err := os.Readlink(s.namePath(name))
	if id := filepath.Base(to); err == nil && ValidID(id) && checkPrivate(s.path(id)) == nil {
		return id
	}
	return ""
}

// Load reads the record of the sandbox with an id. What a supervisor left that
// died is put right first: a sandbox that was not to be kept is removed, and
// does not exist; another has ended.
func (s *Store) Load(id string) (Record, error) {
	at, err := lookHere()
	if err != nil {
		return Record{}, err
	}
	return s.load(id, at)
}

func (s *Store) load(id string, at here) (Record, error) {
	if !ValidID(id) {
		return Record{}, fmt.Errorf("%q is no id: %w", id, os.ErrNotExist)
	}
	dir := s.path(id)
	if err := checkPrivate(dir); err != nil {
		return Record{}, err
	}
	r, err := s.read(id)
	if errors.Is(err, os.ErrNotExist) {
		return Record{}, s.unborn(id)
	}
	if err != nil || !r.abandoned(at) {
		return r, err
	}
	return s.bury(id, at)
}

// unborn is a directory without a record: its maker writes one at once, or died.
func (s *Store) unborn(id string) error {
	var st unix.Stat_t
	if err := unix.Lstat(s.path(id), &st); err == nil && time.Since(time.Unix(st.Mtim.Unix())) > 10*time.Second {
		_ = s.clear(id)
	}
	return &os.PathError{Op: "open", Path: filepath.Join(s.path(id), recordFile), Err: unix.ENOENT}
}

func (s *Store) read(id string) (Record, error) {
	path := filepath.Join(s.path(id), recordFile)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return Record{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd) // bare: package os would first set up the runtime's poller
	const most = 1 << 20
	text := make([]byte, 0, 4096)
	for {
		if len(text) == cap(text) {
			text = slices.Grow(text, len(text))
		}
		n, err := unix.Read(fd, text[len(text):cap(text)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return Record{}, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if text = text[:len(text)+n]; n == 0 || len(text) > most {
			break
		}
	}
	r, err := parse(text)
	if err == nil && r.ID != id {
		err = fmt.Errorf("it is of the sandbox %q", r.ID)
	}
	if err != nil {
		return Record{}, fmt.Errorf("%s: %w; if no sandbox of that id runs, remove the directory", path, err)
	}
	return r, nil
}

// bury puts right what a dead supervisor left. Its death was the sandbox's, as
// PID 1 dies with it. Of several who find it, the first does that, and the others
// get what it made of it.
func (s *Store) bury(id string, at here) (Record, error) {
	const code = 128 + int(unix.SIGKILL)
	unlock, err := s.lock()
	if err != nil {
		return Record{}, err
	}
	// The supervisor, too, may have said its last word while we looked.
	r, err := s.read(id)
	if err != nil || !r.abandoned(at) {
		unlock()
		return r, err
	}
	why := "its supervisor was killed, and the sandbox with it"
	if r.Boot != at.boot {
		why = "the host was restarted"
	}
	if r.Keep {
		r.Status, r.ExitCode, r.Error = Exited, code, why
		r.Finished = time.Now()
		_ = unix.Unlink(filepath.Join(s.path(id), SocketFile))
		err = s.Save(&r)
	} else {
		s.drop(r.Name, id)
		err = s.clear(id)
	}
	unlock() // before Note, which may take it
	if err != nil {
		return Record{}, err
	}
	s.Note(&r, ActionDie, "exit_code", strconv.Itoa(code), "error", why)
	if r.Keep {
		return r, nil
	}
	if !r.Started.IsZero() {
		s.Note(&r, ActionRemove)
	}
	return Record{}, &os.PathError{Op: "open", Path: s.path(id), Err: unix.ENOENT}
}

// Remove forgets a sandbox: its name and its directory.
//
// Precondition: it has ended, or this process is its supervisor.
func (s *Store) Remove(r *Record) error {
	if err := s.release(r.Name, r.ID); err != nil {
		return err
	}
	if err := s.clear(r.ID); err != nil {
		return err
	}
	if !r.Started.IsZero() {
		s.Note(r, ActionRemove)
	}
	return nil
}

// release gives up the claim to a name, if id has it.
func (s *Store) release(name, id string) error {
	if !s.has(name, id) {
		return nil // nothing to lock for: a name that is not id's will not become so
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s.drop(name, id)
	return nil
}

// has says whether the link of a name leads to id.
func (s *Store) has(name, id string) bool {
	to, err := os.Readlink(s.namePath(name))
	return err == nil && filepath.Base(to) == id
}

// drop removes the link of a name, if it leads to id.
//
// Precondition: the caller holds the lock.
func (s *Store) drop(name, id string) {
	if s.has(name, id) {
		_ = unix.Unlink(s.namePath(name))
	}
}

// clear removes a sandbox's directory and what sbx put there.
func (s *Store) clear(id string) error {
	dir := s.path(id)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	for _, name := range own {
		_ = unix.Unlinkat(fd, name, 0)
	}
	err = unix.Rmdir(dir)
	if errors.Is(err, unix.ENOTEMPTY) { // a writer was killed
		left, _ := os.ReadDir(dir)
		for _, f := range left {
			if strings.HasPrefix(f.Name(), pendingFile+".") {
				_ = unix.Unlinkat(fd, f.Name(), 0)
			}
		}
		err = unix.Rmdir(dir)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// Rename gives a sandbox another name, in the store and in the record, which it
// saves. It holds the lock until the record has the name: a link to a record with
// another is nobody's.
func (s *Store) Rename(r *Record, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if name == r.Name {
		return fmt.Errorf("%s is its name already", name)
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.give(name, r.ID); err != nil {
		return err
	}
	old := r.Name
	r.Name = name
	if err := s.Save(r); err != nil {
		r.Name = old
		s.drop(name, r.ID)
		return err
	}
	s.drop(old, r.ID)
	return nil
}
