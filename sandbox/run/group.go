package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/companion"
)

// group is the control group of a sandbox. Its limits are set at the top; the
// command is in a leaf below, which is all that it can ever see, so that it can't
// lift them:
//
//	sbx-ID.scope        the limits; by systemd, or by sbx in a delegated group
//	├ payload           PID 1 of the sandbox, the command and all it starts
//	│ └ init.scope      instead, where the command may make groups beside it
//	└ keeper            a process that does nothing, only for a scope
//
// systemd removes a scope with its last process, and what it counted with it.
// The keeper lets the supervisor read that first.
type group struct {
	plan   *sandbox.Cgroup
	name   string // of the unit, or of the directory
	top    cgroup.Group
	keeper *standby     // see program.Keeper
	call   *scopeCall   // until it was answered
	left   cgroup.Group // the leaf that this process moved to
	memory int          // its memory.events, -1 where nobody asked
	held   int          // of a group in a delegated one: says that it is in use; else -1
}

// scopeCall is sbx-scope, which has been started and waits for what to ask of
// systemd, or has been told.
type scopeCall struct {
	path     string
	running  *companion.Companion
	question [2]int // a pipe, both ends of which are open until it is told
	answer   int    // the reading end of its standard output
}

// callScope starts sbx-scope.
func callScope(path string) (*scopeCall, error) {
	c := &scopeCall{path: path, question: [2]int{-1, -1}, answer: -1}
	var out [2]int
	err := unix.Pipe2(c.question[:], unix.O_CLOEXEC)
	if err == nil {
		err = unix.Pipe2(out[:], unix.O_CLOEXEC)
	}
	if err == nil {
		c.answer = out[0]
		c.running, err = companion.Start(companion.Spec{Name: "sbx-scope", Path: path, Files: []int{c.question[0], out[1], companion.Captured}})
		unix.Close(out[1])
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// tell says what to ask for.
func (c *scopeCall) tell(text []byte) error {
	_, err := unix.Write(c.question[1], text) // less than a pipe holds
	for i, fd := range c.question {
		unix.Close(fd)
		c.question[i] = -1
	}
	if err != nil {
		return fmt.Errorf("telling sbx-scope what to ask for: %w", err)
	}
	return nil
}

// close ends it. It may be nil, and closed already.
func (c *scopeCall) close() {
	if c == nil {
		return
	}
	c.running.Stop(0)
	c.running = nil
	for _, fd := range []*int{&c.question[0], &c.question[1], &c.answer} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// Foresee gets ready for a control group before it is known what to ask for: while the
// plan is decided, the kernel prepares for systemd to move processes, as cgroup.Prime
// says, and the program that asks the user's systemd starts. own is the group that this
// process is in, "" if that is not known, and systemd that of the user's systemd.
func (st *Start) Foresee(helper, own, systemd string) {
	if own != "" {
		primed := make(chan struct{})
		st.primed = primed
		go func() {
			cgroup.Prime(cgroup.Group(own), cgroup.Group(systemd))
			close(primed)
		}()
	}
	// One that can't be started is Run's to say.
	st.scope, _ = callScope(helper)
}

// patience is how long systemd may take; it takes milliseconds.
const patience = 5 * time.Second

// The leaves' names.
const (
	keeperLeaf     = "keeper"
	supervisorLeaf = "sbx-supervisor"
)

// ask begins to make the group, without waiting for anything. It comes as soon
// as the plan is there: the child builds its tree meanwhile.
func (s *sandboxed) ask() error {
	defer func() {
		s.scope.close() // unless it is asked
		s.scope = nil
	}()
	p := &s.plan.Cgroup
	if !p.On() {
		return nil
	}
	g := &group{plan: p, memory: -1, held: -1}
	s.group = g
	if s.scope != nil && s.scope.path == p.Helper {
		g.call, s.scope = s.scope, nil
	}
	id, err := groupID()
	if err != nil {
		return err
	}
	if g.name = "sbx-" + id; p.By != sandbox.CgroupSystemd {
		return nil
	}
	g.name += ".scope"
	prog, err := program.Keeper()
	if err != nil {
		return err
	}
	if g.keeper, err = newStandby("keeping the control group", prog); err != nil {
		return err
	}
	return g.request(s.pid, s.plan.Name)
}

// groupID is a name that no other sandbox has: 12 hexadecimal digits.
func groupID() (string, error) {
	var b [6]byte
	if _, err := unix.Getrandom(b[:], 0); err != nil {
		return "", fmt.Errorf("naming the control group: %w", err)
	}
	return fmt.Sprintf("%x", b), nil
}

// request has sbx-scope ask systemd.
func (g *group) request(pid int, sandbox string) error {
	text, err := json.Marshal(cgroup.ScopeRequest{
		Protocol: cgroup.ScopeProtocol, Socket: g.plan.Socket, Unit: g.name, Slice: "sbx.slice", Description: "sbx: " + sandbox,
		PIDs: []int{pid, g.keeper.pid}, Limits: g.plan.Limits, Patience: patience,
	})
	if err != nil {
		return err
	}
	if g.call == nil {
		if g.call, err = callScope(g.plan.Helper); err != nil {
			return err
		}
	}
	return g.call.tell(text)
}

// join moves the child into the group, once that is there, and lets it go on.
// Anything that is not as the plan has it is an error: nothing of the command
// has run then, and nothing does.
func (s *sandboxed) join() error {
	g := s.group
	if g == nil {
		return nil
	}
	if s.primed != nil {
		<-s.primed // until then this process is not to be moved
	}
	err := g.make(s)
	if err == nil {
		err = g.enter(s.pid)
	}
	if err != nil && readable([]int{s.fd}) {
		return nil // PID 1 was killed, as its status will say
	}
	if err != nil {
		return s.orReport(&GroupError{Key: g.plan.From, Err: err})
	}
	if err := s.say(wordGroup); err != nil {
		if readable([]int{s.fd}) {
			return nil
		}
		return s.orReport(fmt.Errorf("telling the sandbox that its control group is there: %w", err))
	}
	g.call.close() // the child goes on meanwhile
	g.call = nil
	return nil
}

// orReport is what the child says if it failed before, else err.
func (s *sandboxed) orReport(err error) error {
	var interrupted *InterruptedError
	if !errors.As(err, &interrupted) && readable([]int{s.ends.report}) {
		if failed := s.readReport(); failed != nil {
			return failed
		}
	}
	return err
}

func (g *group) make(s *sandboxed) error {
	if g.plan.By == sandbox.CgroupSubtree {
		return g.makeBelow()
	}
	if err := s.until(g.call.answer); err != nil {
		return err
	}
	return g.take()
}

// take reads the answer of sbx-scope, a line: it need not have ended.
func (g *group) take() error {
	var text [8192]byte
	n, err := readLine(g.call.answer, text[:])
	if err != nil {
		return fmt.Errorf("reading the answer of sbx-scope: %w", err)
	}
	if n == 0 {
		return g.call.running.Failure()
	}
	var a cgroup.ScopeAnswer
	err = json.Unmarshal(text[:n], &a)
	switch {
	case err != nil:
		return fmt.Errorf("sbx-scope answers %q: %w", text[:n], err)
	case a.Protocol != cgroup.ScopeProtocol:
		return fmt.Errorf("sbx-scope answers in protocol %d, this sbx speaks %d; install both of the same version", a.Protocol, cgroup.ScopeProtocol)
	case a.Error != "":
		return errors.New(a.Error)
	case filepath.Base(a.Cgroup) != g.name:
		return fmt.Errorf("your systemd left the sandbox in %s instead of %s", a.Cgroup, g.name)
	}
	g.top = cgroup.Group(filepath.Join(g.plan.Root, a.Cgroup))
	return nil
}

// makeBelow makes the group in one that was delegated to the caller, and sets
// the limits.
func (g *group) makeBelow() error {
	parent := cgroup.Group(g.plan.Parent)
	if g.plan.Leave {
		leaf, err := parent.Make(supervisorLeaf)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		// The child is there as well, and those that guard the terminal.
		pids, err := parent.Processes()
		if err != nil {
			return err
		}
		g.left = leaf
		for _, pid := range pids {
			if err := leaf.Add(pid); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	want := g.plan.Limits.Controllers()
	if g.plan.Delegate {
		want = g.plan.Controllers
	}
	if err := enable(parent, want); err != nil {
		return err
	}
	var err error
	if g.top, g.held, err = parent.MakeOwn(g.name); err != nil {
		return err
	}
	return g.top.Set(&g.plan.Limits)
}

// enable gives controllers to the groups below, those that have them not yet.
func enable(g cgroup.Group, want []string) error {
	have, err := g.Enabled()
	if err != nil {
		return err
	}
	return g.Enable(slices.DeleteFunc(slices.Clone(want), func(c string) bool { return slices.Contains(have, c) }))
}

// enter makes the leaves, moves the child into its own and reads back what the
// kernel holds.
func (g *group) enter(pid int) error {
	leaf, err := g.top.Make(cgroup.PayloadLeaf)
	if err != nil {
		return err
	}
	if err := leaf.Add(pid); err != nil {
		return err
	}
	if g.keeper != nil {
		aside, err := g.top.Make(keeperLeaf)
		if err != nil {
			return err
		}
		if err := aside.Add(g.keeper.pid); err != nil {
			return err
		}
	}
	if have, err := g.top.Controllers(); err != nil {
		return err
	} else if err := enable(g.top, have); err != nil {
		return err
	}
	if err := g.handOver(leaf); err != nil {
		return err
	}
	if g.plan.Limits.OOMGroup { // on the leaf: the keeper is to live
		if err := leaf.KillTogether(); err != nil {
			return err
		}
	}
	if err := g.top.Check(&g.plan.Limits); err != nil {
		return fmt.Errorf("the kernel does not hold it: %w", err)
	}
	// The kernel's word on where the child is.
	at, err := cgroup.Of(fmt.Sprint(pid))
	if err == nil && filepath.Join(g.plan.Root, at) != string(leaf) {
		err = fmt.Errorf("the sandbox is in %s instead of %s", at, leaf)
	}
	return err
}

// What a command may make of groups of its own, in all and below one another. Each
// takes one of 65535 numbers that there are for memory groups on the whole machine.
const (
	mostGroups = 1000
	mostDepth  = 32
)

// handOver makes the group that PID 1 moves to, if the command may make others
// beside it, and makes sure of what they are to have, and of how many there are: by
// the top's files, which it never sees.
func (g *group) handOver(leaf cgroup.Group) error {
	if !g.plan.Delegate {
		return nil
	}
	have, err := leaf.Controllers()
	if err != nil {
		return err
	}
	for _, c := range g.plan.Controllers {
		if !slices.Contains(have, c) {
			return fmt.Errorf("%s has no controller %s to hand on", leaf, c)
		}
	}
	if err := g.top.Bound(mostGroups, mostDepth); err != nil {
		return fmt.Errorf("bounding how many groups the command makes: %w", err)
	}
	_, err = leaf.Make(cgroup.InitLeaf)
	return err
}

// events are what the group counted; nil if there is none.
func (g *group) events() *cgroup.Events {
	if g == nil || g.top == "" {
		return nil
	}
	e, err := g.top.Events()
	if err != nil {
		return nil // systemd was told to stop it
	}
	if g.plan.Delegate && e.OwnOOM == 0 {
		e.OOMKills = 0 // by limits that the command gave its own groups, which is its affair
	}
	return &e
}

// OnOOM calls told whenever processes of the sandbox were killed since its memory
// had run out and others go on, with how many there were in all. Where all are
// killed at once the end of the sandbox says it.
func (b *Sandbox) OnOOM(told func(kills int64)) {
	g := b.s.group
	if g == nil || g.top == "" || g.plan.Limits.OOMGroup {
		return
	}
	fd, err := unix.Open(string(g.top)+"/memory.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return // without the controller nothing is counted
	}
	g.memory = fd
	var seen int64
	b.s.others = append(slices.Clip(b.s.others), &other{fd: fd, changes: true, take: func() error {
		var text [1]byte
		if _, err := unix.Pread(fd, text[:], 0); err != nil { // which has poll(2) wait for the next change
			b.Forget(fd)
			return nil
		}
		if e := g.events(); e != nil && e.OOMKills > seen {
			seen = e.OOMKills
			told(seen)
		}
		return nil
	}})
}

// Freeze stops every process of the sandbox through its control group, which no
// program can notice, or lets them go on. done is false where it has none. Only
// the leaf is frozen: the keeper has to end by itself.
func (b *Sandbox) Freeze(on bool) (done bool, err error) {
	const soon = 100 * time.Millisecond
	if !b.Grouped() {
		return false, nil
	}
	g := b.s.group
	err = (g.top + "/" + cgroup.PayloadLeaf).Freeze(on, soon)
	if errors.Is(err, cgroup.ErrNotYet) {
		err = nil // the kernel goes on with it
	}
	return true, err
}

// Grouped says that the sandbox has a control group of its own, by which Freeze works.
func (b *Sandbox) Grouped() bool { return b.s.group != nil && b.s.group.top != "" }

// FrozenBy is the control group, by its name inside, by which the command has stopped
// PID 1, "" where it has not: with groups of its own it can, and PID 1 starts nothing
// then, for nobody.
func (b *Sandbox) FrozenBy() string {
	g := b.s.group
	if g == nil || g.top == "" || !g.plan.Delegate {
		return ""
	}
	at, err := cgroup.Of(fmt.Sprint(b.s.pid))
	if err != nil {
		return "" // its end is seen elsewhere
	}
	payload := g.top + "/" + cgroup.PayloadLeaf
	frozen := cgroup.Group(filepath.Join(g.plan.Root, at)).FrozenFrom(payload)
	name, inside := strings.CutPrefix(string(frozen), string(payload))
	if !inside {
		return ""
	}
	return sandbox.CgroupDir + name
}

// close lets go of the group, and removes it unless that is systemd's.
//
// Precondition: no process of the sandbox is left.
func (g *group) close() {
	if g == nil {
		return
	}
	g.call.close()
	g.call = nil
	if g.memory >= 0 {
		unix.Close(g.memory)
		g.memory = -1
	}
	if g.top != "" {
		if g.plan.Delegate { // systemd, too, might not get to the end of what the command made
			_ = cgroup.Group(filepath.Join(string(g.top), cgroup.PayloadLeaf)).Remove()
		}
		g.keeper.stop()
	} else {
		g.keeper.release() // systemd may be making the group yet
	}
	g.keeper = nil
	if g.plan.By != sandbox.CgroupSubtree {
		return
	}
	if g.top != "" {
		_ = g.top.Remove()
		unix.Close(g.held)
		g.held = -1
	}
	if g.left != "" { // back to where this process was found
		parent := cgroup.Group(g.plan.Parent)
		if have, err := parent.Enabled(); err == nil && parent.Disable(have) == nil {
			if pids, err := g.left.Processes(); err == nil {
				for _, pid := range pids {
					_ = parent.Add(pid)
				}
			}
			_ = g.left.Remove()
		}
	}
}

// GroupError is a control group that could not be had although the plan relies
// on it. The command did not run.
type GroupError struct {
	Key string // the profile's key that asks for it
	Err error
}

func (e *GroupError) Error() string {
	return fmt.Sprintf("making the sandbox's control group: %v; %s", e.Err, e.Hint())
}

// Unwrap gives the cause.
func (e *GroupError) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *GroupError) Hint() string {
	return `see sbx doctor, or set limits.cgroup = "never": limits then hold for each process alone`
}
