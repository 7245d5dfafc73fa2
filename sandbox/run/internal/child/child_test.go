package child

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
)

func TestParseReport(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		want Report
		err  string
	}{
		{"whole", []byte{0x10, 0x32, 0x54, 0x76, 13, 0, 0, 0}, Report{0x76543210, unix.EACCES}, ""},
		{"largest", []byte{255, 255, 255, 255, 255, 255, 0, 0}, Report{1<<32 - 1, 65535}, ""},
		{"nothing", nil, Report{}, "a report of 0 bytes instead of 8"},
		{"short", make([]byte, 7), Report{}, "a report of 7 bytes instead of 8"},
		{"long", make([]byte, 9), Report{}, "a report of 9 bytes instead of 8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseReport(tt.in)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("ParseReport = %v, %v", got, err)
			}
		})
	}
}

// prog is a Program made by hand, one operation a call.
type prog struct{ program.Program }

func (p *prog) op(nr int32, opt program.Opt, args ...program.Arg) *program.Op {
	o := program.Op{Nr: nr, Opt: opt}
	for i, a := range args {
		o.Args[i], o.Kinds[i] = a.Value, a.Kind
	}
	p.Ops = append(p.Ops, o)
	return &p.Ops[len(p.Ops)-1]
}

func (p *prog) exit(status uint64) { p.op(program.OpExit, 0, con(status)) }

// data is the address of b, aligned to eight bytes.
func (p *prog) data(b ...byte) program.Arg {
	for len(p.Data)%8 != 0 {
		p.Data = append(p.Data, 0)
	}
	p.Data = append(p.Data, b...)
	return program.Arg{Kind: program.Addr, Value: uint64(len(p.Data) - len(b))}
}

func (p *prog) str(s string) program.Arg { return p.data(append([]byte(s), 0)...) }

func con(v uint64) program.Arg    { return program.Arg{Kind: program.Const, Value: v} }
func result(i uint64) program.Arg { return program.Arg{Kind: program.Result, Value: i} }

var (
	out = program.Arg{Kind: program.Slot, Value: program.SlotStatus}
	bad = con(^uint64(0)) // a descriptor that never is
)

// ended is how a program ended.
type ended struct {
	status int
	report Report // in place of Offset the operation's index
	out    string
}

// failed is the end of a program whose operation op failed.
func failed(op uint32, errno unix.Errno) ended { return ended{status: 125, report: Report{op, errno}} }

func run(t *testing.T, p *prog) (e ended) {
	t.Helper()
	var slots program.Slots
	read := func(slot int) (r, w *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		slots[slot] = uint64(w.Fd())
		t.Cleanup(func() { _, _ = r.Close(), w.Close() })
		return r, w
	}
	outR, outW := read(program.SlotStatus)
	repR, repW := read(program.SlotReport)
	c, err := Start(&p.Program, slots)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c.PidFD)
	c.Forget()
	_, _ = outW.Close(), repW.Close()
	text, err := io.ReadAll(outR)
	if err != nil {
		t.Fatal(err)
	}
	e.out = string(text)
	report, err := io.ReadAll(repR)
	if err != nil {
		t.Fatal(err)
	}
	if len(report) > 0 {
		if e.report, err = ParseReport(report); err != nil {
			t.Fatal(err)
		}
		e.report.Offset = uint32(program.OpIndex(e.report.Offset))
	}
	var ws unix.WaitStatus
	for {
		if _, err = unix.Wait4(c.PID, &ws, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil || !ws.Exited() {
		t.Fatalf("the child ended with %#x, %v", ws, err)
	}
	e.status = ws.ExitStatus()
	return e
}

type interpreted struct {
	name  string
	build func(*prog)
	want  ended
}

func check(t *testing.T, tests []interpreted) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &prog{}
			tt.build(p)
			if got := run(t, p); got != tt.want {
				t.Errorf("ended as %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestOperations(t *testing.T) {
	check(t, []interpreted{
		{"exit", func(p *prog) { p.exit(42) }, ended{status: 42}},
		{"jump", func(p *prog) {
			p.op(program.OpJump, 0).Jump = 2
			p.exit(1)
			p.exit(5)
		}, ended{status: 5}},
		{"a system call", func(p *prog) {
			p.op(unix.SYS_WRITE, 0, out, p.str("text"), con(4))
			p.exit(0)
		}, ended{out: "text"}},
		{"a result", func(p *prog) { // the number of bytes written is the status
			p.op(unix.SYS_WRITE, 0, out, p.str("text"), con(3))
			p.op(program.OpExit, 0, result(0))
		}, ended{status: 3, out: "tex"}},
		{"store", func(p *prog) {
			at := p.data(make([]byte, 8)...)
			p.op(program.OpStore, 0, at, con(0x0807060504030201))
			p.op(unix.SYS_WRITE, 0, out, at, con(8))
			p.exit(0)
		}, ended{out: "\x01\x02\x03\x04\x05\x06\x07\x08"}},
		{"a word", func(p *prog) {
			at := p.data(9, 0, 0, 0, 0, 0, 0, 0)
			p.op(program.OpExit, 0, program.Arg{Kind: program.Word, Value: at.Value})
		}, ended{status: 9}},
		{"a header's field", func(p *prog) {
			p.op(unix.SYS_WRITE, 0, out, program.Arg{Kind: program.Head, Value: program.HeadAllSignals}, con(8))
			p.exit(0)
		}, ended{out: "\xff\xff\xff\xff\xff\xff\xff\xff"}},
		{"six arguments", func(p *prog) { // mmap of nothing
			p.op(unix.SYS_MMAP, 0, con(0), con(4096), con(unix.PROT_READ), con(unix.MAP_PRIVATE|unix.MAP_ANONYMOUS), bad, con(1))
			p.exit(0)
		}, failed(0, unix.EINVAL)},
		{"relocate", func(p *prog) { // struct iovec[2], of which only the first word is an address
			text := p.str("abc")
			iov := p.data(byte(text.Value), 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0)
			p.op(program.OpRelocate, 0, iov, con(1))
			p.op(unix.SYS_WRITEV, 0, out, iov, con(1))
			p.exit(0)
		}, ended{out: "ab"}},
		{"relocate nothing", func(p *prog) {
			at := p.str("as it is")
			p.op(program.OpRelocate, 0, at, con(0))
			p.op(unix.SYS_WRITE, 0, out, at, con(8))
			p.exit(0)
		}, ended{out: "as it is"}},
		{"expect, met", func(p *prog) {
			p.op(program.OpExpect, 0, p.data(0x12, 0x34, 0, 0, 0, 0, 0, 0), con(0xff00), con(0x3400), con(uint64(unix.EXDEV)))
			p.exit(0)
		}, ended{}},
		{"expect, not met", func(p *prog) {
			p.op(unix.SYS_SETSID, program.Ignore)
			p.op(program.OpExpect, 0, p.data(0x12, 0x34, 0, 0, 0, 0, 0, 0), con(0xff00), con(0x3500), con(uint64(unix.EXDEV)))
			p.exit(0)
		}, failed(1, unix.EXDEV)},
		{"decimal", func(p *prog) {
			at := p.data(make([]byte, 80)...)
			for i, n := range []uint64{0, 7, 10, 4194304, 9999999999} {
				p.op(program.OpDecimal, 0, program.Arg{Kind: program.Addr, Value: at.Value + uint64(16*i)}, con(n))
			}
			p.op(unix.SYS_WRITE, 0, out, at, con(80))
			p.exit(0)
		}, ended{out: padded("0", "7", "10", "4194304", "9999999999")}},
		{"fail", func(p *prog) { p.op(program.OpFail, 0) }, failed(0, unix.ENOENT)},
	})
}

// padded is each text with NULs after it, in sixteen bytes.
func padded(texts ...string) (s string) {
	for _, text := range texts {
		s += text + strings.Repeat("\x00", 16-len(text))
	}
	return s
}

func TestFailures(t *testing.T) {
	check(t, []interpreted{
		{"a failure is reported and ends it", func(p *prog) {
			p.op(unix.SYS_SETSID, program.Ignore)
			p.op(unix.SYS_CLOSE, 0, bad)
			p.exit(7)
		}, failed(1, unix.EBADF)},
		{"ignore", func(p *prog) {
			p.op(unix.SYS_CLOSE, program.Ignore, bad)
			p.exit(7)
		}, ended{status: 7}},
		{"tolerate", func(p *prog) {
			p.op(unix.SYS_CLOSE, 0, bad).Tolerate = uint8(unix.EBADF)
			p.exit(7)
		}, ended{status: 7}},
		{"tolerate another", func(p *prog) {
			p.op(unix.SYS_CLOSE, 0, bad).Tolerate = uint8(unix.ENOENT)
			p.exit(7)
		}, failed(0, unix.EBADF)},
		{"skip", func(p *prog) {
			o := p.op(unix.SYS_CLOSE, program.Skip, bad)
			o.Tolerate, o.Jump = uint8(unix.EBADF), 2
			p.exit(1)
			p.exit(7)
		}, ended{status: 7}},
		{"nothing to skip", func(p *prog) {
			o := p.op(unix.SYS_GETPID, program.Skip)
			o.Tolerate, o.Jump = uint8(unix.EBADF), 2
			p.exit(1)
			p.exit(7)
		}, ended{status: 1}},
		{"skip of another error", func(p *prog) {
			o := p.op(unix.SYS_CLOSE, program.Skip, bad)
			o.Tolerate, o.Jump = uint8(unix.ENOENT), 2
			p.exit(1)
			p.exit(7)
		}, failed(0, unix.EBADF)},
		{"zero", func(p *prog) {
			p.op(unix.SYS_WRITE, program.Zero, out, con(0), con(0))
			p.exit(7)
		}, ended{status: 7}},
		{"not zero", func(p *prog) {
			p.op(unix.SYS_WRITE, program.Zero, out, p.str("x"), con(1))
			p.exit(7)
		}, ended{status: 125, report: Report{0, unix.ESRCH}, out: "x"}},
	})
}

// TestSearch: an errno that a later directory may make good is passed over,
// and EACCES is remembered over ENOENT (execvp(3)).
func TestSearch(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	const noEntry, noAccess, noDir, loop = "/none", "/file", "/file/x", "/loop"
	search := func(names ...string) func(*prog) {
		return func(p *prog) {
			none := p.data(make([]byte, 8)...)
			for _, n := range names {
				p.op(unix.SYS_EXECVE, program.Search, p.str(dir+n), none, none)
			}
			p.op(program.OpFail, 0)
		}
	}
	check(t, []interpreted{
		{"nowhere", search(), failed(0, unix.ENOENT)},
		{"not there", search(noEntry, noEntry), failed(2, unix.ENOENT)},
		{"no directory counts as not there", search(noDir), failed(1, unix.ENOENT)},
		{"no access", search(noAccess), failed(1, unix.EACCES)},
		{"no access, then not there", search(noAccess, noEntry, noDir), failed(3, unix.EACCES)},
		{"not there, then no access", search(noEntry, noAccess), failed(2, unix.EACCES)},
		{"another error ends the search", search(noEntry, loop, noEntry), failed(1, unix.ELOOP)},
		{"found in the end", func(p *prog) {
			search(noAccess, noEntry)(p)
			p.Ops = p.Ops[:2]
			sh, c, text := p.str("sh"), p.str("-c"), p.str("echo found; exit 9")
			argv := p.data(byte(sh.Value), byte(sh.Value>>8), 0, 0, 0, 0, 0, 0, byte(c.Value), byte(c.Value>>8), 0, 0, 0, 0, 0, 0,
				byte(text.Value), byte(text.Value>>8), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			p.op(program.OpRelocate, 0, argv, con(3))
			p.op(unix.SYS_DUP3, 0, out, con(1), con(0))
			p.op(unix.SYS_EXECVE, program.Search, p.str("/bin/sh"), argv, p.data(make([]byte, 8)...))
			p.op(program.OpFail, 0)
		}, ended{status: 9, out: "found\n"}},
	})
}

func TestFork(t *testing.T) {
	check(t, []interpreted{
		{"both go on", func(p *prog) {
			status := p.data(make([]byte, 8)...)
			p.op(unix.SYS_CLONE, program.Fork, con(uint64(unix.SIGCHLD))).Jump = 5
			p.op(unix.SYS_WAIT4, 0, result(0), status)
			p.op(program.OpExpect, 0, status, con(0xffffffff), con(5<<8), con(uint64(unix.ECANCELED)))
			p.op(unix.SYS_WRITE, 0, out, p.str("parent"), con(6))
			p.exit(0)
			p.op(unix.SYS_WRITE, 0, out, p.str("child "), con(6))
			p.exit(5)
		}, ended{out: "child parent"}},
		{"the first process keeps its result", func(p *prog) {
			const all, one = 0, 1 // P_ALL, P_PID, which takes no 0; see waitid(2)
			p.op(unix.SYS_CLONE, program.Fork, con(uint64(unix.SIGCHLD))).Jump = 4
			p.op(unix.SYS_WAITID, 0, con(all), con(0), con(0), con(unix.WEXITED|unix.WNOWAIT))
			p.op(unix.SYS_WAITID, 0, con(one), result(0), con(0), con(unix.WEXITED))
			p.exit(0)
			p.exit(5)
		}, ended{}},
		{"a failure of the second process is reported", func(p *prog) {
			status := p.data(make([]byte, 8)...)
			p.op(unix.SYS_CLONE, program.Fork, con(uint64(unix.SIGCHLD))).Jump = 3
			p.op(unix.SYS_WAIT4, 0, result(0), status)
			p.exit(3)
			p.op(unix.SYS_CLOSE, 0, bad)
		}, ended{status: 3, report: Report{3, unix.EBADF}}},
		{"shared memory, as the command's process has", func(p *prog) {
			at := p.data(make([]byte, 8)...)
			p.op(unix.SYS_CLONE, program.Fork, con(uint64(unix.SIGCHLD)|unix.CLONE_VM|unix.CLONE_VFORK)).Jump = 3
			p.op(program.OpExpect, 0, at, con(0xff), con(6), con(uint64(unix.ECANCELED)))
			p.exit(0)
			p.op(program.OpStore, 0, at, con(6))
			p.exit(0)
		}, ended{}},
		{"init reaps, says how the command ended and is done", func(p *prog) {
			p.op(unix.SYS_CLONE, program.Fork, con(uint64(unix.SIGCHLD))).Jump = 2
			p.op(program.OpInit, 0, result(0), out)
			p.exit(11)
		}, ended{out: "\x00\x0b\x00\x00"}},
		{"init goes on at the signal that is its own", func(p *prog) {
			info := make([]byte, 128) // siginfo_t: from nobody of this PID namespace, queued (SI_QUEUE)
			info[0], info[8], info[9], info[10], info[11] = program.SignalAnother, 0xff, 0xff, 0xff, 0xff
			p.op(unix.SYS_GETPID, 0)
			p.op(unix.SYS_RT_SIGQUEUEINFO, 0, result(0), con(program.SignalAnother), p.data(info...))
			p.op(program.OpInit, 0, bad, out, con(0), con(program.SignalAnother))
			p.exit(7)
		}, ended{status: 7}},
		{"init and a command that a signal ends", func(p *prog) {
			p.op(unix.SYS_CLONE, program.Fork, con(uint64(unix.SIGCHLD))).Jump = 2
			p.op(program.OpInit, 0, result(0), out)
			p.op(unix.SYS_GETPID, 0)
			p.op(unix.SYS_KILL, 0, result(2), con(uint64(unix.SIGKILL)))
		}, ended{out: "\x09\x00\x00\x00"}},
	})
}

// TestLoaded: what a dynamic loader started has children as well.
func TestLoaded(t *testing.T) {
	if loaded() {
		t.Skip("this is the test binary that a loader started")
	}
	out, err := exec.Command("go", "test", "-count=1", "-buildmode=pie", "-run", "^TestOperations$|^TestLoaded$", "-v", ".").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- SKIP: TestLoaded") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestBetween(t *testing.T) {
	code, block := span{0x400000, 0x402000}, span{0x7f0000000000, 0x7f0000400000}
	want := [3]span{{0x10000, 0x400000}, {0x402000, 0x7f0000000000}, {0x7f0000400000, userSpace}}
	if got := between(code, block); got != want {
		t.Errorf("the block above the interpreter: %x", got)
	}
	if got := between(block, code); got != want {
		t.Errorf("the block below the interpreter: %x", got)
	}
}

func TestTooLarge(t *testing.T) {
	p := &prog{}
	p.Data = make([]byte, blockSize)
	_, err := Start(&p.Program, program.Slots{})
	want := "the steps of this sandbox take 4194480 bytes, more than 2097104; it has too many mounts, masks or variables"
	if err == nil || err.Error() != want {
		t.Errorf("Start: %v, want %s", err, want)
	}
}

// TestExtend: a child that waits goes on with what its program became.
func TestExtend(t *testing.T) {
	var gate, back [2]int
	if err := errors.Join(unix.Pipe2(gate[:], unix.O_CLOEXEC), unix.Pipe2(back[:], unix.O_CLOEXEC)); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _, _ = unix.Close(gate[0]), unix.Close(back[0]), unix.Close(back[1]) }()
	var slots program.Slots
	slots[program.SlotGo], slots[program.SlotReport], slots[program.SlotStatus] = uint64(gate[0]), uint64(back[1]), uint64(back[1])
	begin := &prog{}
	begin.op(unix.SYS_READ, 0, program.Arg{Kind: program.Slot, Value: program.SlotGo}, program.Arg{Kind: program.Head, Value: program.HeadSiginfo}, con(1))
	c, err := Start(&begin.Program, slots)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c.PidFD)
	whole := &prog{}
	whole.Ops = append(whole.Ops, begin.Ops...)
	whole.op(unix.SYS_WRITE, 0, out, whole.str("more"), con(4))
	whole.exit(6)
	if err := c.Extend(&whole.Program, slots); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(gate[1], []byte{1}); err != nil {
		t.Fatal(err)
	}
	unix.Close(gate[1])
	c.Forget()
	c.Forget()
	var ws unix.WaitStatus
	for {
		if _, err = unix.Wait4(c.PID, &ws, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	var b [8]byte
	n, _ := unix.Read(back[0], b[:])
	if err != nil || ws.ExitStatus() != 6 || string(b[:n]) != "more" {
		t.Errorf("status %#x, %q, %v", ws, b[:n], err)
	}
}

// TestEarlyBlock holds what the entry copies against what Encode makes.
func TestEarlyBlock(t *testing.T) {
	prelude := program.Prelude(sandbox.Shape{Namespaces: program.Usual})
	want := make([]byte, prelude.Size())
	slots := program.Slots{program.SlotReport: 5, program.SlotGo: 7, program.SlotGoWrite: 8}
	if err := prelude.Encode(want, slots); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, earlySize)
	if _, err := binary.Encode(got, binary.LittleEndian, earlyBlock[:]); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(got[program.HeadReport:], 5)
	binary.LittleEndian.PutUint64(got[earlyReadFD:], 7)
	binary.LittleEndian.PutUint64(got[earlyCloseFD:], 8)
	if !bytes.Equal(got, want) {
		t.Errorf("the entry's block is\n%x\nand not\n%x", got, want)
	}
	if earlyCloseFD != 264 || earlyReadFD != 408 || unsafe.Sizeof(earlyClone) != 88 || unsafe.Offsetof(early.pidFD) != 56 {
		t.Error("the assembly of the entry knows other numbers")
	}
	if want := prelude.CloneFlags | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND; earlyClone.Flags != want {
		t.Errorf("the entry clones with %#x and not %#x", earlyClone.Flags, want)
	}
}
