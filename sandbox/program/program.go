// Package program compiles a Plan into a Program: a flat list of operations
// that a forked child runs one after another and that can do nothing else.
// Compiling is pure; the result can be printed, compared and measured without
// a kernel.
//
// A Program becomes bytes by Encode: a header, the operations, and the data
// they point to, all addressed from the start of the block, so that the same
// bytes work wherever they lie in memory.
package program

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Program is an ordered list of steps.
type Program struct {
	// CloneFlags are those of the clone3(2) that makes the child.
	CloneFlags uint64
	Steps      []Step
	Ops        []Op
	// Data is what operations point to: strings, structures, buffers.
	Data []byte
	// Exec is the step that becomes the command: its failure is the command's.
	Exec int
	// Init is, of a bare sandbox, the operation whose result is the number of
	// its init: the process that signals are for. 0 where that is the child itself.
	Init int
	// Stem is the operation whose result is the number of PID 1, where the child is
	// not that itself but its sibling: see prelude. 0 elsewhere.
	Stem int
}

// Step is a stretch of operations with one purpose. Its sentence is what
// `sbx explain --steps` prints, and what a failure is named by.
type Step struct {
	From string // the profile's key that asked for it, if one did
	Path string // the path a failure is about
	Who  Who
	Op   int // index of its first operation
	// Refusable says that lacking rights here means that the host refuses user
	// namespaces to its users.
	Refusable bool

	format string // the sentence, put together only when somebody reads it
	args   []any
}

// Doc is the step's sentence: "mount a tmpfs of 67108864 bytes on /dev/shm".
func (s Step) Doc() string { return fmt.Sprintf(s.format, s.args...) }

// Who runs a step.
type Who uint8

// The processes of a sandbox, see docs/ARCHITECTURE.md.
const (
	Init    Who = iota // PID 1 of the sandbox
	Mapper             // writes the inner id map, then is gone
	Payload            // the command's process, until it executes the command
	Ward               // of a sandbox without namespaces the first process, init's parent
)

func (w Who) String() string { return [...]string{"init", "mapper", "payload", "ward"}[w] }

// Op is one operation: a system call, or one of the interpreter's own below
// zero.
type Op struct {
	Args  [6]uint64
	Kinds [6]ArgKind // of Args
	Opt   Opt
	// Tolerate is an errno that is no failure, 0 for none.
	Tolerate uint8
	Nr       int32
	// Jump is where to go on instead of the next operation: for Fork in the
	// child, for Skip after a tolerated error.
	Jump int32
}

// The interpreter's own operations. They must agree with the assembly of
// sandbox/run/internal/child.
const (
	// OpStore writes Args[1] to the word at Args[0].
	OpStore = -1 - iota
	// OpRelocate adds the block's address to each word that is not zero of the
	// Args[1] words from Args[0] on: argument vectors hold addresses.
	OpRelocate
	// OpExpect compares the word at Args[0], masked by Args[1], with Args[2]
	// and fails with errno Args[3] where they differ.
	OpExpect
	// OpInit is PID 1's life: reap, pass signals on to process Args[0], write
	// its wait status to descriptor Args[1] and exit. Args[2] is a mask of the
	// signals that go to the command's whole process group. Signals are taken from
	// process Args[4], 0 for one outside of the PID namespace. The signal Args[3]
	// goes nowhere: PID 1 goes on with the next operation. If Args[5] is not 0, it
	// goes on there as well in place of exiting, and at signal Args[5] from anybody.
	OpInit
	// OpFail ends with the errno kept by Search.
	OpFail
	// OpExit ends this process with status Args[0].
	OpExit
	// OpJump goes on at Jump.
	OpJump
	// OpDecimal writes the number Args[1], below 10^10, to Args[0] in decimal
	// digits, without anything after them.
	OpDecimal
)

// Opt is a set of options of an operation.
type Opt uint8

// The options; they must agree with the assembly.
const (
	// Ignore passes over any error.
	Ignore Opt = 1 << iota
	// Fork goes on at Jump where the result is 0: in the child. Both processes
	// run the same block, in which the result is what the parent got.
	Fork
	// Skip goes on at Jump after the tolerated error.
	Skip
	// Zero makes a positive result a failure with ESRCH.
	Zero
	// Search passes over ENOENT, ENOTDIR and EACCES, as the search of a command
	// along PATH does (execvp(3)), and keeps the errno for OpFail: EACCES once
	// there was one, else ENOENT.
	Search
)

// ArgKind says how an argument's value is found when its operation runs.
type ArgKind uint8

// The kinds of arguments.
const (
	Const  ArgKind = iota // Value itself
	Addr                  // address of Data[Value]
	Result                // result of operation Value
	Slot                  // a number known when the child starts: a Slot* constant
	Head                  // address of a header field: a Head* constant
	Word                  // the contents of the word at Data[Value]
)

// Arg is one argument of an operation.
type Arg struct {
	Kind  ArgKind
	Value uint64
}

// Slots are what a Program leaves open: descriptors and numbers of the process
// that starts the child.
const (
	SlotStatus     = iota // write end of the pipe for the command's wait status
	SlotStatusRead        // its read end, the starter's
	SlotReport            // write end of the pipe for failures
	SlotGo                // end of the socket that says that the program is there, and later brings descriptors
	SlotGoWrite           // its other end, the starter's
	SlotSync              // read end of the pipe that says that the id maps are written
	SlotSyncWrite         // its write end, the starter's
	SlotMapRead           // pipe by which init tells the mapper to go on
	SlotMapWrite
	SlotTerminal // socket on which the terminal's controlling side is handed out
	SlotLayers   // socket on which what fuse-overlayfs serves is handed out
	SlotStdin    // descriptors in place of the standard ones, where the Plan says so
	SlotStdout   // (TTYNever: pipes)
	SlotStderr
	SlotStarter // the starter's process number
	SlotUserNS  // user namespace that is entered first
	SlotNetNS   // network namespace that belongs to it
	NumSlots
)

// Slots maps each Slot* to its number.
type Slots [NumSlots]uint64

// Step returns the step that operation op belongs to.
func (p *Program) Step(op int) (Step, error) {
	for i := len(p.Steps) - 1; i >= 0; i-- {
		if p.Steps[i].Op <= op {
			return p.Steps[i], nil
		}
	}
	return Step{}, fmt.Errorf("no step has operation %d", op)
}

// String lists the steps, numbered, a line each.
func (p *Program) String() string {
	var b strings.Builder
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%3d  %-8s %s", i+1, s.Who, strings.ReplaceAll(s.Doc(), "\n", "?"))
		if s.From != "" {
			fmt.Fprintf(&b, "  [%s]", s.From)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// builder collects a Program. Its methods return what later operations need.
type builder struct {
	p       Program
	who     Who
	errs    []error
	self    int             // operation that opened the host's /proc/self
	null    int             // operation that opened the host's /dev/null
	made    map[string]bool // directories and files made in the new root, relative to it
	sources map[string]int  // operations that cloned binds in the host's own tree, by target
	// heldLayers are the layers of mounts in the host's own tree, by target.
	heldLayers map[string]held
	heldFuse   map[string]int // descriptors of /dev/fuse for them
	fuses      int            // how many of those there are
	devs       []int          // operations that cloned the devices, in the Plan's order
	tty        int            // operation that opened the command's side of the terminal
	stash      string         // where files are made that only a mount can put in their place
}

func c(v uint64) Arg       { return Arg{Const, v} }
func ci(v int) Arg         { return Arg{Const, uint64(int64(v))} }
func res(op int) Arg       { return Arg{Result, uint64(op)} }
func slot(s int) Arg       { return Arg{Slot, uint64(s)} }
func head(h int) Arg       { return Arg{Head, uint64(h)} }
func addr(off uint64) Arg  { return Arg{Addr, off} }
func (b *builder) at() int { return len(b.p.Ops) }

// atCWD is AT_FDCWD: paths are relative to the working directory, which is the
// new root while it is being built.
var atCWD = ci(unix.AT_FDCWD)

// lastFD is the highest number that a descriptor can have, for close_range(2).
const lastFD = 1<<32 - 1

// step begins a step; the operations that follow belong to it. The sentence is
// imperative.
func (b *builder) step(path, from, format string, args ...any) {
	b.p.Steps = append(b.p.Steps, Step{Path: path, From: from, Who: b.who, Op: b.at(), format: format, args: args})
}

// call appends a system call and returns its index.
func (b *builder) call(nr int32, args ...Arg) int { return b.op(Op{Nr: nr}, args...) }

func (b *builder) op(o Op, args ...Arg) int {
	b.p.Ops = append(b.p.Ops, o)
	last := &b.p.Ops[len(b.p.Ops)-1]
	for i, a := range args {
		last.Args[i], last.Kinds[i] = a.Value, a.Kind
	}
	return len(b.p.Ops) - 1
}

// land makes the operation at index op jump to the next one appended.
func (b *builder) land(op int) { b.p.Ops[op].Jump = int32(b.at()) }

// str is the address of s as a C string.
func (b *builder) str(s string) Arg {
	if strings.IndexByte(s, 0) >= 0 {
		b.errs = append(b.errs, fmt.Errorf("%q holds a NUL byte", s))
	}
	off := uint64(len(b.p.Data))
	b.p.Data = append(b.p.Data, s...)
	b.p.Data = append(b.p.Data, 0)
	return addr(off)
}

// bytes is the address of v, aligned to eight bytes.
func (b *builder) bytes(v []byte) uint64 {
	off := b.space(len(v))
	copy(b.p.Data[off:], v)
	return off
}

// words is the address of a table of 64-bit words.
func (b *builder) words(v ...uint64) uint64 {
	off := b.space(8 * len(v))
	for i, w := range v {
		putWord(b.p.Data[off+uint64(8*i):], w)
	}
	return off
}

// space is the address of n zero bytes, aligned to eight.
func (b *builder) space(n int) uint64 {
	for len(b.p.Data)%8 != 0 {
		b.p.Data = append(b.p.Data, 0)
	}
	off := uint64(len(b.p.Data))
	b.p.Data = append(b.p.Data, make([]byte, n)...)
	return off
}

// vector is the address of a NULL-ended vector of strings, as execve(2) takes
// it. It emits the operation that fills in the addresses.
func (b *builder) vector(list []string, more ...uint64) Arg {
	table := make([]uint64, 0, len(list)+len(more)+1)
	for _, s := range list {
		table = append(table, b.str(s).Value)
	}
	table = append(table, more...)
	off := b.words(append(table, 0)...)
	b.op(Op{Nr: OpRelocate}, addr(off), c(uint64(len(table))))
	return addr(off)
}

func (b *builder) program() (*Program, error) {
	return &b.p, errors.Join(b.errs...)
}

// IsExec says whether operation op belongs to the step that executes the
// command.
func (p *Program) IsExec(op int) bool {
	first := p.Steps[p.Exec].Op
	return op >= first && (p.Exec+1 == len(p.Steps) || op < p.Steps[p.Exec+1].Op)
}
