// Package supervise is what a supervisor does beside running its sandbox: it
// keeps the record by which others find it, answers them on its control socket,
// and, where nobody sits in front of it, keeps the command's output. All of it
// happens on the thread that waits for the sandbox, between two things to wait
// for, and waits itself only for what is short: a freeze, and the processes by which
// mounts are granted (run.Sandbox.Grant).
package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/output"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// Options are how a sandbox is supervised.
type Options struct {
	// Record is what is known of the sandbox: its name, "" for one of sbx's
	// making, profile, command, directory.
	Record state.Record
	// Must says that a sandbox without a record must not start; otherwise Warn
	// is told why it has none.
	Must bool
	Warn func(string)
	// Output is where the command's output comes from, and Input where what it
	// reads goes, -1 for none. LogSize is how much of the output is kept, in bytes.
	Output  [2]int
	Input   int
	LogSize int64
	// Policy says when the command is started again.
	Policy Policy
	// Idle is after how long without a further command the sandbox is ended, 0 for
	// never.
	Idle time.Duration
	// Runs is called, if it is not nil, each time that the command runs. An error ends
	// the sandbox, but after a restart, when Warn is told.
	Runs func(*state.Record) error
	// Started is called once, when the command runs. An error ends the sandbox.
	Started func(*state.Record) error
	// Healthy is called, if it is not nil, when a check of health succeeds after
	// none did.
	Healthy func()
	// Refused, if it is not nil, are the system calls that were refused, as JSON; nil
	// where that is not traced.
	Refused func() json.RawMessage
	// Finished is called when the sandbox has ended for good, if it had started,
	// before anybody is told.
	Finished func(code int)
}

// Supervisor stands by one sandbox. It is a run.Attendant.
type Supervisor struct {
	o          Options
	store      *state.Store
	rec        state.Record
	registered bool
	box        *run.Sandbox // nil between two runs of the command
	listen     int          // -1 for none
	conns      []*conn
	log        *output.Writer
	queue      []queued
	frozen     bool        // every process is stopped
	again      bool        // the command is to be started again when it has ended
	stopping   bool        // somebody asked for the end
	sent       unix.Signal // what sbx kill gave the command, 0 for nothing: see remember
	startedAt  time.Time
	told       bool          // who started it knows that the command runs
	delay      time.Duration // before the command is started again
	tries      int           // of the policy, since somebody has started it
	timers     []grantTimer  // of grants that end by themselves
	check      *check        // of health, nil where there is none
	said       string        // what there is to know of the end
	oomKills   int64         // of the command that runs, which events tell of
}

// New makes a supervisor.
func New(o Options) *Supervisor {
	return &Supervisor{o: o, rec: o.Record, listen: -1}
}

// Must says that the sandbox must not start without a record.
func (s *Supervisor) Must() bool { return s.o.Must }

// Asked says that somebody has asked for the sandbox's end.
func (s *Supervisor) Asked() bool { return s.stopping }

// Record is the sandbox's record as it is now.
func (s *Supervisor) Record() *state.Record { return &s.rec }

// Register makes the record, with which the name is taken. Begun does it for who
// has not.
func (s *Supervisor) Register() error {
	if s.registered {
		return nil
	}
	store, err := state.Open()
	if err != nil {
		return err // and what was registered before has its old place still, which finish looks for
	}
	s.store = store
	if s.rec.Status == "" {
		s.rec.Status = state.Starting
	}
	s.rec.Socket = false
	if err := s.store.New(&s.rec); err != nil {
		return err
	}
	s.registered = true
	if s.listen, err = control.Listen(s.path(state.SocketFile)); err == nil && s.o.LogSize > 0 {
		if s.log != nil {
			s.log.Close()
		}
		s.log, err = output.Create(s.path(state.LogFile), s.o.LogSize)
	}
	if err == nil {
		s.restorePlan() // first: who asked for the record goes on when it has the socket
		s.rec.Socket = true
		err = s.save()
	}
	if err != nil {
		s.drop()
	}
	return err
}

// note adds an event of the sandbox. One that has no record has no events.
func (s *Supervisor) note(a state.Action, attributes ...string) {
	if s.registered {
		s.store.Note(&s.rec, a, attributes...)
	}
}

func (s *Supervisor) path(name string) string {
	return filepath.Join(s.store.Path(), s.rec.ID, name)
}

// drop forgets the sandbox altogether.
func (s *Supervisor) drop() {
	if !s.registered {
		return
	}
	s.registered = false
	s.close()
	_ = s.store.Remove(&s.rec) // what can't be removed is found by whoever looks next
}

func (s *Supervisor) close() {
	for _, c := range s.conns {
		c.close()
	}
	s.conns = nil
	for _, q := range s.queue {
		control.CloseAll(q.fds)
	}
	s.queue = nil
	if s.listen >= 0 {
		unix.Close(s.listen)
		s.listen = -1
	}
	if s.log != nil {
		s.log.Close()
		s.log = nil
	}
}

// Begun is called while the sandbox builds itself.
func (s *Supervisor) Begun(box *run.Sandbox) error {
	s.box = box
	if !s.o.Must && !s.registered {
		return nil // in the foreground: see Summoned
	}
	if err := s.Register(); err != nil {
		return err
	}
	s.watch()
	return nil
}

// Summoned makes the record of a sandbox in the foreground, which nobody has
// asked for before, and what a record was when its directory went away (with the
// user's last session, say).
func (s *Supervisor) Summoned() error {
	if s.registered && s.there() {
		return nil
	}
	if s.registered {
		_ = unix.Unlink(s.path(state.SocketFile))
		s.registered = false
		if s.box != nil {
			s.box.Forget(s.listen)
		}
		unix.Close(s.listen)
		s.listen = -1
	}
	if s.rec.ID == "" {
		s.rec.Unrecorded = true
	}
	if s.rec.Created.IsZero() {
		s.rec.Created = s.startedAt // zero while it is being built: it is made now
	}
	if s.runs() {
		s.rec.Init, _ = state.Look(s.box.Init())
	}
	if err := s.Register(); err != nil {
		s.o.Warn(fmt.Sprintf("somebody asked for this sandbox's record, which can't be made: %v", err))
		return nil
	}
	if s.box != nil {
		s.box.Watch(s.listen, s.accept)
	}
	return nil
}

// runs says whether the command runs, as far as the record knows.
func (s *Supervisor) runs() bool {
	return s.box != nil && (s.rec.Status == state.Running || s.rec.Status == state.Paused)
}

// plans says whether the Plan is kept beside the record. It is not for who has no name
// and was found by its process.
func (s *Supervisor) plans() bool {
	return s.o.Must || s.rec.Name != state.DerivedName(s.rec.ID)
}

// restorePlan keeps the Plan where that comes after Runs. Without room there is none,
// as who looks for it is told.
func (s *Supervisor) restorePlan() {
	if s.runs() && s.plans() {
		_ = s.savePlan()
	}
}

// there says whether the sandbox's directory is still there.
func (s *Supervisor) there() bool {
	var st unix.Stat_t
	return unix.Lstat(s.path(state.SocketFile), &st) == nil
}

// watch has the sandbox's thread look after the descriptors of this one.
func (s *Supervisor) watch() {
	box := s.box
	box.Watch(s.listen, s.accept)
	for _, c := range s.conns { // those that asked for another start
		box.Watch(c.FD(), c.take)
	}
	for i, fd := range s.o.Output {
		if fd >= 0 {
			box.Watch(fd, func() error { s.read(i); return nil })
		}
	}
}

// Runs is called when the command runs.
func (s *Supervisor) Runs() error {
	s.startedAt = s.box.Since()
	s.rec.Status, s.rec.Started = state.Running, s.startedAt // also for Summoned
	if !s.registered {
		return nil
	}
	if err := s.beginChecks(); err != nil {
		return err
	}
	var err error
	s.rec.ExitCode, s.rec.Error, s.rec.OOMKilled = 0, "", false // of the run before
	if s.rec.Init, err = state.Look(s.box.Init()); err == nil {
		err = s.save()
	}
	if err != nil && s.o.Must {
		return err
	}
	if s.plans() {
		if err := s.savePlan(); err != nil && s.o.Must {
			return err
		}
	}
	if s.o.Runs != nil {
		if err := s.o.Runs(&s.rec); err != nil {
			if !s.told {
				return err
			}
			s.o.Warn(err.Error())
		}
	}
	for _, c := range s.conns {
		if c.restarts {
			c.restarts = false
			c.answer(control.Reply{Event: control.Started})
		}
	}
	if started := s.o.Started; started != nil {
		s.o.Started = nil
		if err := started(&s.rec); err != nil {
			return err
		}
	}
	s.told = true
	s.rest()
	s.note(state.ActionStart)
	s.oomKills = 0
	s.box.OnOOM(func(kills int64) { s.outOfMemory(kills, false) })
	s.next()
	return nil
}

func (s *Supervisor) save() error { return s.store.Save(&s.rec) }

// savePlan keeps the Plan for inspect, without the values of variables and
// secrets: a file is read more easily than a process.
func (s *Supervisor) savePlan() error {
	plan := s.box.Plan().WithoutValues()
	text, err := json.Marshal(&plan)
	if err != nil {
		return err
	}
	return s.store.WriteFile(s.rec.ID, state.PlanFile, text)
}

// Say is for before Ended: what there is to know of the end goes to the log and to
// who waits for it.
func (s *Supervisor) Say(text string) {
	s.said = text
	if s.log != nil && text != "" {
		s.log.Write(output.Stderr, []byte(text), time.Now())
	}
}

// Ended is called when the command has ended, with what Run returned and sbx's
// exit status. It says whether the command is to be started again.
func (s *Supervisor) Ended(status run.Status, code int, failure error) (again bool) {
	if !s.registered {
		if s.o.Finished != nil && !s.startedAt.IsZero() {
			s.o.Finished(code)
		}
		return false
	}
	for i := range s.o.Output {
		s.read(i)
	}
	s.box = nil
	s.endGrants()
	s.endChecks()
	s.rec.ExitCode, s.rec.Error = code, ""
	s.rec.OOMKilled = s.oomKills > 0
	switch {
	case failure != nil:
		s.rec.Error = failure.Error()
	case status.TimedOut:
		s.rec.Error = "the timeout passed"
	case status.InitKilled != 0:
		s.rec.Error = "the sandbox was killed by " + unix.SignalName(status.InitKilled)
	}
	if failure != nil && s.rec.Restarts == 0 && !s.told {
		s.drop() // it was never there: who started it is told why, or is gone
		return false
	}
	s.died(status)
	if s.startAgain(status, failure) {
		s.note(state.ActionRestart)
		return true
	}
	s.finish()
	return false
}

// outOfMemory notes that processes were killed since there was no memory left: how
// many of this command's in all, and whether there come no more. A command can have it
// happen as often as it likes, and other sandboxes' events are in the same file: after
// some it is told of whenever there are a quarter more.
func (s *Supervisor) outOfMemory(kills int64, last bool) {
	const each = 20
	if !last && s.oomKills >= each && kills < s.oomKills*5/4 {
		return
	}
	if kills > s.oomKills {
		s.note(state.ActionOOM, "kills", strconv.FormatInt(kills-s.oomKills, 10))
		s.oomKills, s.rec.OOMKilled = kills, true
	}
}

func (s *Supervisor) refused() json.RawMessage {
	if s.o.Refused == nil {
		return nil
	}
	return s.o.Refused()
}

// died notes that the command ended, and by what.
func (s *Supervisor) died(status run.Status) {
	if status.Group != nil {
		s.outOfMemory(status.Group.OOMKills, true)
	}
	attributes := []string{"exit_code", strconv.Itoa(s.rec.ExitCode)}
	if s.rec.Error != "" {
		attributes = append(attributes, "error", s.rec.Error)
	}
	s.note(state.ActionDie, attributes...)
	if s.stopping {
		s.note(state.ActionStop)
	}
}

// finish is the sandbox's end: its record is written a last time or removed, and
// who waits hears of it.
func (s *Supervisor) finish() {
	s.rec.Status, s.rec.Finished = state.Exited, time.Now()
	s.rec.Supervisor, s.rec.Init = state.Process{}, state.Process{}
	if s.o.Finished != nil {
		s.o.Finished(s.rec.ExitCode)
	}
	if s.rec.Keep {
		if s.log != nil && s.log.Dropped > 0 && s.rec.Error == "" {
			s.rec.Error = fmt.Sprintf("%d bytes of output were lost: %v", s.log.Dropped, s.log.Err)
		}
		_ = unix.Unlink(s.path(state.SocketFile))
		if text := s.refused(); text != nil {
			_ = s.store.WriteFile(s.rec.ID, state.RefusedFile, text) // it is for whoever wonders, and no loss
		}
		// Before the socket closes: who connects after the last was taken is thrown
		// out then, and looks into the record.
		if s.save() != nil { // no room: the record on disk says that it runs, and who reads it sees that it does not
			s.registered = false
		}
	} else {
		s.registered = false
		_ = s.store.Remove(&s.rec) // what can't be removed is found by whoever looks next
	}
	conns := append(s.conns, s.backlog()...)
	s.conns = nil
	s.close()
	for _, c := range conns {
		c.tell(control.Reply{Event: control.Ended, Code: s.rec.ExitCode, Error: s.rec.Error, Said: s.said})
	}
}

// read takes what the command has written, and passes it on.
func (s *Supervisor) read(i int) {
	fd := s.o.Output[i]
	if fd < 0 {
		return
	}
	stream := [2]output.Stream{output.Stdout, output.Stderr}[i]
	buf := make([]byte, 64<<10)
	for range 16 { // others are to be heard in between
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		if s.log != nil {
			s.log.Write(stream, buf[:n], time.Now())
		}
		for _, c := range s.conns {
			c.pass(i, buf[:n])
		}
	}
}

// Fill takes from a plan what its record says of it.
func Fill(r *state.Record, p *sandbox.Plan) {
	r.Files, r.Command, r.Network = p.Files, p.Process.Argv, networkMode(p)
	r.StopSignal, r.StopTimeout = p.Process.StopSignal, p.Process.StopTimeout
}
