package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Action is what happened to a sandbox.
type Action string

// The actions, by docker's and podman's names.
const (
	ActionStart   Action = "start"
	ActionDie     Action = "die" // the command ended; attributes exit_code, error
	ActionOOM     Action = "oom" // attribute kills
	ActionStop    Action = "stop"
	ActionKill    Action = "kill" // attribute signal
	ActionRestart Action = "restart"
	ActionPause   Action = "pause"
	ActionUnpause Action = "unpause"
	ActionRename  Action = "rename" // attribute old_name
	ActionExec    Action = "exec"   // attribute command
	ActionExecDie Action = "exec_die"
	ActionAttach  Action = "attach"
	ActionUpdate  Action = "update"
	ActionHealth  Action = "health_status" // attribute status
	ActionGrant   Action = "grant"         // attributes path, access
	ActionRevoke  Action = "revoke"
	ActionRemove  Action = "remove"
)

// Event is one thing that happened to a sandbox that has a record.
type Event struct {
	Time       time.Time         `json:"time"`
	Action     Action            `json:"action"`
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Profile    string            `json:"profile"`
	Labels     map[string]string `json:"labels"`
	Attributes map[string]string `json:"attributes"`
}

// The events of all sandboxes are lines of one file, which each supervisor adds
// to. When it has half of MostEvents it becomes the older one of two.
const (
	eventsFile = "events"
	// MostEvents is how much is kept of them, in bytes.
	MostEvents = 2 << 20
)

// Note adds an event of the sandbox of r. Nothing depends on it: where there is
// no room, it is lost.
func (s *Store) Note(r *Record, a Action, attributes ...string) {
	e := Event{Time: time.Now(), Action: a, ID: r.ID, Name: r.Name, Profile: r.Profile, Labels: r.Labels, Attributes: map[string]string{}}
	if e.Labels == nil {
		e.Labels = map[string]string{}
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		e.Attributes[attributes[i]] = attributes[i+1]
	}
	text, err := json.Marshal(&e)
	if err != nil {
		return
	}
	fd, err := unix.Open(s.eventsPath(), unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// One write: with O_APPEND lines of several writers do not mix (open(2)). One
	// that found no room in the middle ends with the next line's newline.
	_, _ = unix.Write(fd, append(append([]byte{'\n'}, text...), '\n'))
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Size > MostEvents/2 {
		s.turnEvents(st.Ino)
	}
}

func (s *Store) eventsPath() string { return filepath.Join(s.dir, eventsFile) }

// turnEvents makes the newer file, if it still is the one that was seen to be
// full, the older one.
func (s *Store) turnEvents(ino uint64) {
	unlock, err := s.lock()
	if err != nil {
		return
	}
	defer unlock()
	var st unix.Stat_t
	if unix.Lstat(s.eventsPath(), &st) == nil && st.Ino == ino {
		_ = unix.Rename(s.eventsPath(), s.eventsPath()+".1")
	}
}

// Events reads what happened, the oldest first.
type Events struct {
	store *Store
	files []*os.File // being read, older ones first
	rest  []byte     // read and not yet given out
	watch int        // inotify(7)
}

// Events returns a reader of all events that are kept, and of those to come; with
// fromNow, of the latter only.
func (s *Store) Events(fromNow bool) (*Events, error) {
	e := &Events{store: s, watch: -1}
	var err error
	// It is watched first, so that nothing comes in between.
	if e.watch, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	if _, err := unix.InotifyAddWatch(e.watch, s.dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_FROM); err != nil {
		e.Close()
		return nil, &os.PathError{Op: "watch", Path: s.dir, Err: err}
	}
	names := []string{s.eventsPath() + ".1", s.eventsPath()}
	if fromNow {
		names = names[1:]
	}
	for _, name := range names {
		if err := e.open(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			e.Close()
			return nil, err
		}
	}
	if fromNow && len(e.files) > 0 {
		_, err = e.files[0].Seek(0, io.SeekEnd)
	}
	return e, err
}

func (e *Events) open(path string) error {
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	if path == e.store.eventsPath() {
		flags |= unix.O_CREAT // or what comes could be turned away before it is open
	}
	fd, err := unix.Open(path, flags, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	e.files = append(e.files, os.NewFile(uintptr(fd), path))
	return nil
}

// Close ends the reading.
func (e *Events) Close() {
	for _, f := range e.files {
		f.Close()
	}
	if e.watch >= 0 {
		unix.Close(e.watch)
	}
	e.files, e.watch = nil, -1
}

// Next returns the next event, or io.EOF where there is none yet. Lines that are
// no events are passed over: there was no room for the rest of them.
func (e *Events) Next() (Event, error) {
	for {
		line, rest, whole := bytes.Cut(e.rest, []byte{'\n'})
		if whole {
			e.rest = rest
			var v Event
			if json.Unmarshal(line, &v) == nil && v.Action != "" {
				return v, nil
			}
			continue
		}
		if err := e.more(); err != nil {
			return Event{}, err
		}
	}
}

// more reads on: in the file that is open, and when that is no longer the newest
// one, in the next.
func (e *Events) more() error {
	if len(e.files) == 0 { // the last one was turned
		if err := e.open(e.store.eventsPath()); err != nil {
			return err
		}
	}
	replaced := len(e.files) > 1 || e.replaced() // before reading: nobody adds to it after
	b := make([]byte, 32<<10)
	n, err := e.files[0].Read(b)
	if n > 0 {
		e.rest = append(e.rest, b[:n]...)
		return nil
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	if !replaced {
		return io.EOF
	}
	e.files[0].Close()
	e.files, e.rest = e.files[1:], nil
	return nil
}

// replaced says that the file that is read is not the newest any more.
func (e *Events) replaced() bool {
	var ours, theirs unix.Stat_t
	if unix.Fstat(int(e.files[0].Fd()), &ours) != nil || unix.Lstat(e.store.eventsPath(), &theirs) != nil {
		return false
	}
	return ours.Ino != theirs.Ino
}

// Wait returns when there may be more, or after a time.
func (e *Events) Wait(most time.Duration) error {
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(e.watch), Events: unix.POLLIN}}, int(max(most, 0)/time.Millisecond)+1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("poll", err)
	}
	b := make([]byte, 4096)
	for { // what they are about is found out by reading
		if n, err := unix.Read(e.watch, b); err != nil || n <= 0 {
			return nil
		}
	}
}
