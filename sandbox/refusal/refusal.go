// Package refusal counts the system calls that a sandbox's filter refused, and
// says of each what refused it and what would allow it.
package refusal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// Call is one refused call.
type Call struct {
	Nr      uint32
	Arch    uint32 // AUDIT_ARCH_* of linux/audit.h
	Args    [6]uint64
	Errno   syscall.Errno // what it was answered with
	Program string        // the name of the process (comm of proc(5)), "" if it is not known
	PID     int           // of the process, inside; 0 if it is not known
}

// Entry is what was refused of one kind: a call, with those of its arguments that
// the policy looks at, by one program.
type Entry struct {
	Time    time.Time `json:"time"` // of the first, as PID
	Call    string    `json:"call"` // the call's name, else "number 999"
	Args    string    `json:"args,omitempty"`
	Program string    `json:"program,omitempty"`
	PID     int       `json:"pid,omitempty"`
	Errno   string    `json:"errno"`
	Why     string    `json:"why"`
	Key     string    `json:"key"`           // the profile's key that refuses it
	Add     string    `json:"add,omitempty"` // the line of a profile that would allow it
	// Expected says that programs do without the call, unasked.
	Expected bool `json:"expected,omitempty"`
	Count    int  `json:"count"`
}

// The keys that refuse calls.
const (
	KeyPolicy = "security.seccomp"
	KeyDeny   = "security.seccomp_deny"
)

// most bounds how many kinds are counted apart; what is beyond it is one more. The
// first apart are told apart by who called and with what as well, of which a command
// can make up as much as it likes: others by the call alone, of which there are so
// many, so that none is hidden among them.
const (
	most  = 200
	apart = most / 2
)

// other is the name of that one.
const other = "other calls"

// expected are calls for which programs and libraries have something else where a
// kernel lacks them, and try it without being told.
var expected = [...]string{"clone3", "faccessat2", "listmount", "openat2", "socketcall", "statmount"}

type kind struct {
	call, args, program string
	errno               syscall.Errno
}

// Log counts refusals. The zero value is not ready: see New.
type Log struct {
	policy, before policy.Policy
	byKind         map[kind]*Entry
	order          []*Entry
}

// New is for a sandbox under a policy, which before was it without what the profile
// denies by name.
func New(p, before policy.Policy) *Log {
	return &Log{policy: p, before: before, byKind: map[kind]*Entry{}}
}

// Add counts a call. first says that it is the first of its kind.
func (l *Log) Add(c Call, now time.Time) (e Entry, first bool) {
	v := l.policy.Judge(c.Arch, c.Nr, c.Args)
	k := kind{call: v.Call, args: argsText(v.Args), program: c.Program, errno: c.Errno}
	if k.call == "" {
		k.call = fmt.Sprintf("number %d", c.Nr)
	}
	old := l.byKind[k]
	if old == nil && len(l.order) >= apart {
		k.args, k.program, c.PID = "", "", 0
		if v.Call == "" || l.byKind[k] == nil && len(l.order) >= most {
			k = kind{call: other}
		}
		old = l.byKind[k]
	}
	if old != nil {
		old.Count++
		return *old, false
	}
	n := &Entry{Time: now, Call: k.call, Count: 1, Errno: errnoText(c.Errno), Key: KeyPolicy}
	if k.call == other {
		n.Why, n.Errno = "more than are counted apart", ""
	} else {
		l.explain(n, &v, c)
		n.Args, n.Program, n.PID = k.args, k.program, c.PID
	}
	l.byKind[k] = n
	l.order = append(l.order, n)
	return *n, true
}

// explain says why a call was refused.
func (l *Log) explain(n *Entry, v *policy.Verdict, c Call) {
	n.Expected = c.Errno == unix.ENOSYS && slices.Contains(expected[:], v.Call)
	switch {
	case v.Call == "":
		n.Why = "the policy " + l.policy.Name + " knows no such call"
		return
	case v.Rule != nil && v.Rule.Why != "":
		n.Why = "the policy " + l.policy.Name + " refuses it: " + v.Rule.Why
	case len(v.Args) > 0:
		n.Why = "the policy " + l.policy.Name + " does not allow it with these arguments"
	default:
		n.Why = "the policy " + l.policy.Name + " does not allow it"
	}
	if b := l.before.Judge(c.Arch, c.Nr, c.Args); b.Lets() && v.Rule != nil {
		n.Key, n.Why = KeyDeny, v.Rule.Why
		return
	}
	n.Add = Remedy(l.policy.Name, v.Call)
}

// nested are calls that take rights over a namespace, which a command has only in
// one of its own making; asRoot those that take rights of its own ids.
const (
	nested = " clone fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root setns umount umount2 unshare "
	asRoot = " chroot setgroups setgroups32 "
)

// Remedy is the line of a profile that allows a call which the policy of that name
// refuses.
func Remedy(policy, call string) string {
	builtin := !strings.Contains(policy, "/") // a file says all by itself
	switch {
	case builtin && strings.Contains(nested, " "+call+" "):
		return "security.nested_userns = true"
	case builtin && strings.Contains(asRoot, " "+call+" "):
		return `user.as = "root"`
	}
	return "security.seccomp_allow = [" + strconv.Quote(call) + "]"
}

// Entries are all kinds so far, in the order of the first of each.
func (l *Log) Entries() []Entry {
	if l == nil {
		return nil
	}
	list := make([]Entry, len(l.order))
	for i, e := range l.order {
		list[i] = *e
	}
	return list
}

func argsText(args []policy.Arg) string {
	var list []string
	for _, a := range args {
		name := a.Name
		if name == "" {
			name = fmt.Sprintf("argument %d", a.Index)
		}
		value := fmt.Sprint(a.Value)
		switch {
		case a.Octal:
			value = fmt.Sprintf("%#o", a.Value)
		case a.Value > 255:
			value = fmt.Sprintf("%#x", a.Value)
		}
		list = append(list, name+" "+value)
	}
	return strings.Join(list, ", ")
}

func errnoText(e syscall.Errno) string {
	if e == 0 { // a policy of the profile's own
		return "nothing done, and success"
	}
	if name := unix.ErrnoName(e); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", int(e))
}

// What names the call and who made it: "socket (family 40) by ping".
func (e *Entry) What() string {
	s := e.Call
	if e.Args != "" {
		s += " (" + e.Args + ")"
	}
	if e.Program != "" {
		s += " by " + programText(e.Program)
	}
	return s
}

// programText is the name of a process, which is any bytes that it likes, lines of
// sbx's among them: quoted, if it is not what names usually are.
func programText(name string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.+@/:", r)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return strconv.QuoteToASCII(name)
	}
	return name
}

// Text is a refusal as a line for people, as far as they are not told what would
// allow it.
func (e *Entry) Text() string {
	s := e.What()
	if e.PID > 0 {
		s += fmt.Sprintf(" (pid %d inside)", e.PID)
	}
	if e.Errno != "" {
		s += ": " + e.Errno
	}
	return s + ": " + e.Why
}

// summarised is how many kinds a summary names.
const summarised = 8

// Summary is a line about all that was refused, "" where nothing was.
func Summary(list []Entry) string {
	total, without := 0, 0
	var named []Entry
	for _, e := range list {
		total += e.Count
		if e.Expected {
			without += e.Count
		} else {
			named = append(named, e)
		}
	}
	if total == 0 {
		return ""
	}
	slices.SortStableFunc(named, func(a, b Entry) int { return b.Count - a.Count })
	var words []string
	for i, e := range named {
		if i < summarised {
			words = append(words, fmt.Sprintf("%s (%d)", e.What(), e.Count))
		}
	}
	if more := len(named) - summarised; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	if without > 0 {
		words = append(words, fmt.Sprintf("%d that programs do without (%s)", without, strings.Join(names(list), ", ")))
	}
	return fmt.Sprintf("system calls: %d denied: %s", total, strings.Join(words, ", "))
}

// names are the expected calls of a list.
func names(list []Entry) []string {
	var out []string
	for _, e := range list {
		if e.Expected && !slices.Contains(out, e.Call) {
			out = append(out, e.Call)
		}
	}
	return out
}
