package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/audit"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/kept"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
	"github.com/sbx-sandbox/sbx/userns"
)

// Keep is what it takes to write a start down, so that the same call starts the same
// sandbox before the Go runtime does, as long as nothing has changed.
type Keep struct {
	// Base makes and checks sbx's runtime directory, in which they are kept.
	Base func() (string, error)
	// Seen is all that the Plan was decided from, beside command line and environment.
	Seen *seen.Log
	// Ask adds to it what else is known of the caller and the kernel.
	Ask func(*seen.Log) error
}

// mostKept is how many starts are kept, of the latest ones.
const mostKept = 64

// Keepable says whether a sandbox is one that nothing has to be done for on the host
// but to start it, to wait, and to look at one tree afterwards.
func Keepable(p *sandbox.Plan) bool {
	pr := &p.Process
	return !p.Bare.On() && p.Shape() == (sandbox.Shape{Namespaces: p.Namespaces, Range: p.IDs.Mode == "range"}) && program.SamePrelude(p.Namespaces, program.Usual) &&
		p.Network != sandbox.NetUser && p.Network != sandbox.NetSandbox && p.Overlay.Name == "" && p.Root.Image.Layers == nil &&
		p.Cgroup.By == "" && len(p.Create) == 0 && len(p.Secrets) == 0 && len(p.Health.Argv) == 0 && pr.Timeout == 0 && len(pr.Passed) == 0 &&
		!p.Security.Seccomp.Trace && !slices.ContainsFunc(p.Mounts, func(m sandbox.Mount) bool { return m.Grantable }) &&
		(p.Audit.Mode == sandbox.AuditOff || len(p.Audit.Trees) == 0 || len(p.Audit.Trees) == 1 && p.Audit.Trees[0].IsDir)
}

// keep writes a start down. That it can't be is no loss but of time. It comes last: it
// takes more memory than all before, which a command that runs for days would keep.
func (st *Start) keep(s *sandboxed) {
	k, p := st.Keep, s.plan
	if k == nil || st.early == [10]int{} || k.Seen.Spoiled != "" || !Keepable(p) {
		return
	}
	plan, err := json.Marshal(p)
	if err != nil || bytes.Contains(plan, []byte(`\ufffd`)) { // not UTF-8: see Plan
		return
	}
	k.Seen.Prune()
	if k.Ask(k.Seen) != nil || k.Seen.Spoiled != "" || !local(k.Seen.Checks) {
		return
	}
	block := make([]byte, s.prog.Size())
	if s.prog.Encode(block, s.ends.slots) != nil {
		return
	}
	f := kept.Start{
		Argv: os.Args, Env: os.Environ(), Passed: p.Process.Env, Checks: k.Seen.Checks, Pipes: st.early,
		Claim: p.Claim.Dir, Alone: p.Claim.Exclusive,
		Program: block[program.FirstOp+kept.Skipped*program.OpSize:], Plan: plan,
	}
	if ids := &p.IDs; ids.Mode == "range" {
		f.Helpers[0] = append([]string{ids.NewUIDMap}, userns.HelperArgs("", ids.OuterUIDs)...)
		f.Helpers[1] = append([]string{ids.NewGIDMap}, userns.HelperArgs("", ids.OuterGIDs)...)
	}
	if p.Audit.Mode != sandbox.AuditOff && len(p.Audit.Trees) > 0 {
		f.Tree = p.Audit.Trees[0].Source
	}
	text, err := f.Encode()
	if err != nil {
		return
	}
	k.write(f.Argv, text)
}

// local says whether all files that were looked at lie on file systems of this
// kernel's alone: others, over a network say, may show what was a while ago.
func local(checks []seen.Check) bool {
	known := map[uint64]bool{}
	for i := range checks {
		c := &checks[i]
		if c.Kind != seen.Stat || c.Want.Errno != 0 || known[c.Want.Dev] {
			continue
		}
		if !audit.Comparable(c.Path) {
			return false
		}
		known[c.Want.Dev] = true
	}
	return true
}

// write makes the file appear as a whole, in a directory of its own.
func (k *Keep) write(argv []string, text []byte) {
	base, err := k.Base()
	if err != nil {
		return
	}
	dir := kept.Dir(base)
	if err := unix.Mkdir(dir, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return
	}
	var st unix.Stat_t
	var types [3]uint32
	for fd := range types {
		if unix.Fstat(fd, &st) != nil {
			return
		}
		types[fd] = st.Mode & unix.S_IFMT
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil || n == 0 {
		return
	}
	name := filepath.Join(dir, kept.Name(argv, string(buf[:n-1]), types))
	// Without a name until it is whole: nothing is left of it whenever this is killed.
	fd, err := unix.Open(dir, unix.O_WRONLY|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return // the file system can't do that: overlayfs before Linux 6.1, say
	}
	defer unix.Close(fd)
	if m, err := unix.Write(fd, text); err != nil || m != len(text) {
		return
	}
	_ = unix.Unlink(name)
	_ = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	dropOldest(dir)
}

// dropOldest removes the oldest of more than mostKept.
func dropOldest(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= mostKept {
		return
	}
	oldest, when := "", int64(0)
	for _, e := range entries {
		var st unix.Stat_t
		path := filepath.Join(dir, e.Name())
		if unix.Lstat(path, &st) == nil && (oldest == "" || st.Mtim.Nano() < when) {
			oldest, when = path, st.Mtim.Nano()
		}
	}
	_ = unix.Unlink(oldest)
}
