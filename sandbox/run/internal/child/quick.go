package child

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/kept"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// What is here runs a sandbox that was started before by the same call, from what
// package kept wrote down of it, if nothing has changed that it was decided from. The
// child that the entry has started gets that Program. It is Go without the runtime,
// as ask.go is. Where anything is not as it was, nothing has happened and the runtime
// comes next; likewise where the child failed before the command ran, which is to be
// found out once more and said. Who has to go on with a sandbox that runs, since a
// signal came or the command failed, takes it over: see Taken.

// quickly is what quick works with.
var quickly struct {
	taken  Taken
	path   line
	name   [256]byte
	cwd    [4096]byte
	stat   unix.Stat_t
	meta   [kept.MostMeta / 8]uint64
	size   uintptr // of what is in meta, bytes
	buffer [4096]byte
	how    unix.OpenHow
	dents  [32 << 10]byte
	clocks [4]unix.Timespec
	mask   uint64
	poll   [2]unix.PollFd
	info   [128]byte
	ended  [128 / 4]int32 // a siginfo_t of the kernel's: signo, errno, code
	status [4]byte
	ignore [4]uintptr // a sigaction of the kernel's
	now    unix.Timespec
	last   int64 // when the last SIGINT came
	walk   walk
	helper struct {
		argv  [kept.MostWords + 1]*byte
		envp  [3]*byte
		words line
		pid   [16]byte
	}
}

// Taken is a sandbox that was started before the Go runtime, for whoever goes on
// with it. Its command may run.
type Taken struct {
	Child  *Child
	Pipes  Pipes // the ends of this side; the others are closed and 0
	Signal unix.Signal
	Runs   bool // the command does, for certain, since then
	Since  unix.Timespec
	Claim  int // the descriptor that holds the workspace, -1 for none
	Tree   Tree
	// File is what package kept wrote; the Plan stands in it at Plan.
	File int
	Plan int64

	begun   bool
	helpers [2]int // processes that map ids
	pid     int64
	pidFD   int32
}

// Tree is what was seen of a tree before the command could write; FD is -1 for none.
type Tree struct {
	FD     int
	Names  []byte // as getdents64(2) gave them
	Clocks [4]unix.Timespec
}

// TreeClocks are the clocks that a tree is looked at by, in that order.
var TreeClocks = [4]int32{unix.CLOCK_REALTIME_COARSE, unix.CLOCK_REALTIME, unix.CLOCK_BOOTTIME, unix.CLOCK_REALTIME}

// TakeOver hands over, to its first caller, a sandbox that was started from what
// was kept.
func TakeOver() (*Taken, bool) {
	q := &quickly
	if !q.taken.begun {
		return nil, false
	}
	q.taken.begun = false
	t := q.taken
	block := *(*unsafe.Pointer)(unsafe.Pointer(&early.block))
	t.Child = &Child{PID: int(t.pid), PidFD: int(t.pidFD), block: unsafe.Slice((*byte)(block), blockSize)}
	return &t, true
}

// Left says that TakeOver has something to hand over.
func Left() bool { return quickly.taken.begun }

// word is one of the header's, or of another table of words in the file.
func word(at uintptr) uint64 {
	q := &quickly
	if at+8 > q.size {
		return 0
	}
	return *(*uint64)(unsafe.Add(unsafe.Pointer(&q.meta), at))
}

func header(i uintptr) uint64 { return word(8 * i) }

// text is what stands at an offset of the file, which ends in NUL: the last byte of
// meta is one.
func text(at uint64) *byte {
	q := &quickly
	if uintptr(at) >= q.size {
		at = uint64(q.size) - 1
	}
	return (*byte)(unsafe.Add(unsafe.Pointer(&q.meta), uintptr(at)))
}

// quick runs the sandbox, and ends with its command's status. It returns where that
// is for the runtime.
//
//lint:ignore U1000 the entry calls it
func quick() {
	const most = 4096
	n := *(*int)(entryStack)
	if n < 3 || n > most {
		return
	}
	words := unsafe.Slice((**byte)(unsafe.Add(entryStack, 8)), n)
	env := unsafe.Add(entryStack, 8*(n+2))
	if isShell(cstring(words[0])) || !listens() || !find(words, env) {
		return
	}
	q := &quickly
	q.taken.Claim, q.taken.Tree.FD = -1, -1
	if !matches(words, env) || !holds() || !begin() {
		if q.taken.helpers != [2]int{} { // the ids of this child are mapped, or will be
			mapped()
			undo()
			return
		}
		shut(q.taken.File, q.taken.Claim, q.taken.Tree.FD, int(q.poll[1].Fd))
		return
	}
	stand()
}

// listens finds out which of the signals that are passed on are not ignored, as what
// nohup(1) or a shell's "&" has started does with some. It says no where one is
// blocked.
func listens() bool {
	q := &quickly
	a := &asking
	for sig := uintptr(1); sig <= 64; sig++ {
		if uint64(heard)>>(sig-1)&1 == 0 {
			continue
		}
		const ignored = 1 // SIG_IGN
		if call(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&a.action)), 8) != 0 {
			return false
		}
		if a.action[0] != ignored {
			q.mask |= 1 << (sig - 1)
		}
	}
	return call(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&a.before)), 8) == 0 && a.before&heard == 0
}

// find opens the file that was kept of such a call, and reads what is to be compared.
func find(words []*byte, env unsafe.Pointer) bool {
	q := &quickly
	q.path = line{b: q.name[:]}
	l := &q.path
	uid := call(unix.SYS_GETUID, 0, 0, 0, 0)
	dir := variable(env, "XDG_RUNTIME_DIR=")
	if len(dir) == 0 || dir[0] != '/' || !isClean(dir) {
		return false
	}
	l.text(dir)
	l.text("/sbx")
	if l.over || !l.isDir(uid) {
		return false
	}
	l.text("/starts/")
	if !l.hash(words) || l.over {
		return false
	}
	fd := call(unix.SYS_OPENAT, here, l.address(), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if fd < 0 {
		return false
	}
	q.taken.File = fd
	st := &q.stat
	n := call(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&q.meta)), unsafe.Sizeof(q.meta), 0)
	if call(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(st)), 0, 0) == 0 && st.Mode == unix.S_IFREG|0o600 && int(st.Uid) == uid && n > 0 {
		q.size = uintptr(n)
		if meta := uintptr(header(kept.AtMeta)); header(kept.AtMagic) == kept.Magic && meta <= q.size && meta >= 8*kept.HeadWords && meta%8 == 0 && header(kept.AtSize) == uint64(st.Size) {
			q.size = meta
			if kept.Sum(q.meta[kept.AtSum+1:meta/8]) == header(kept.AtSum) && *text(header(kept.AtMeta) - 1) == 0 {
				return true
			}
		}
	}
	call(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0)
	return false
}

// isDir says that a path is a directory of uid's that is closed to others.
func (l *line) isDir(uid int) bool {
	st := &quickly.stat
	return call(unix.SYS_NEWFSTATAT, here, l.address(), uintptr(unsafe.Pointer(st)), unix.AT_SYMLINK_NOFOLLOW) == 0 &&
		st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == uid && st.Mode&0o077 == 0
}

// hash adds the name that package kept gives the file.
func (l *line) hash(words []*byte) bool {
	q := &quickly
	h := kept.FNVBasis
	for _, w := range words {
		h = kept.FNV(kept.FNVString(h, cstring(w)), 0)
	}
	n := call(unix.SYS_GETCWD, uintptr(unsafe.Pointer(&q.cwd)), unsafe.Sizeof(q.cwd), 0, 0)
	if n <= 1 {
		return false
	}
	h = kept.FNVString(h, cstring(&q.cwd[0]))
	for fd := uintptr(0); fd < 3; fd++ {
		if call(unix.SYS_FSTAT, fd, uintptr(unsafe.Pointer(&q.stat)), 0, 0) != 0 {
			return false
		}
		h = kept.FNV(h, byte(q.stat.Mode&unix.S_IFMT>>12))
	}
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		l.add(digits[h>>uint(shift)&15])
	}
	return true
}

// matches says that command line and environment are what they were.
func matches(words []*byte, env unsafe.Pointer) bool {
	if header(kept.AtArgc) != uint64(len(words)) {
		return false
	}
	at := header(kept.AtArgv)
	for _, w := range words {
		have := cstring(text(at))
		if cstring(w) != have {
			return false
		}
		at += uint64(len(have)) + 1
	}
	at = header(kept.AtEnv)
	for left := header(kept.AtEnvc); ; left-- {
		p := *(**byte)(env)
		if p == nil || left == 0 {
			return p == nil && left == 0
		}
		is, was := cstring(p), cstring(text(at))
		if is != was && (header(kept.AtLoose) == 0 || !isLoose(is, was)) {
			return false
		}
		at += uint64(len(was)) + 1
		env = unsafe.Add(env, unsafe.Sizeof(env))
	}
}

// isLoose says that two entries of an environment are the same variable, the value
// of which does not count.
func isLoose(a, b string) bool {
	const list = kept.Loose
	for begin, i := 0, 0; i < len(list); i++ {
		if list[i] != 0 {
			continue
		}
		name := list[begin:i]
		if len(a) >= len(name) && len(b) >= len(name) && a[:len(name)] == name && b[:len(name)] == name {
			return true
		}
		begin = i + 1
	}
	return false
}

// holds says that all that was looked at is as it was.
func holds() bool {
	at := uintptr(header(kept.AtCheck))
	for left := header(kept.AtChecks); left > 0; left-- {
		if !same(at) {
			return false
		}
		at += 8 * kept.CheckWords
	}
	at = uintptr(header(kept.AtPipes))
	for i := range early.pipes {
		for j := range early.pipes[i] {
			if word(at) != uint64(early.pipes[i][j]) {
				return false
			}
			at += 8
		}
	}
	return true
}

// same makes the check that stands at an offset.
func same(at uintptr) bool {
	q := &quickly
	field := func(i uintptr) uint64 { return word(at + 8*i) }
	kind := field(kept.CheckKind)
	switch kind & 0xff {
	case uint64(seen.Stat):
		return checkStat(at, seen.Bits(kind>>8))
	case uint64(seen.Text):
		fd := call(unix.SYS_OPENAT, here, uintptr(unsafe.Pointer(text(field(kept.CheckA)))), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if fd < 0 {
			return false
		}
		n := call(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&q.buffer)), unsafe.Sizeof(q.buffer), 0)
		call(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0)
		return n >= 0 && uint64(n) == field(kept.CheckLen) && sameBytes(field(kept.CheckAt), uintptr(n))
	case uint64(seen.Call):
		var args [4]uintptr
		for i := range args {
			args[i] = uintptr(field(kept.CheckB + uintptr(i)))
		}
		if buffer := kind >> 16; buffer > 0 && buffer <= 4 {
			args[buffer-1] = uintptr(unsafe.Pointer(&q.buffer))
		}
		r := call(uintptr(field(kept.CheckA)), args[0], args[1], args[2], args[3])
		return int64(r) == int64(field(kept.CheckF)) && sameBytes(field(kept.CheckAt), uintptr(field(kept.CheckLen)))
	case uint64(seen.Stream):
		if call(unix.SYS_FSTAT, uintptr(field(kept.CheckA)), uintptr(unsafe.Pointer(&q.stat)), 0, 0) != 0 {
			return false
		}
		device := uint64(0)
		if q.stat.Mode&unix.S_IFMT == unix.S_IFCHR {
			device = q.stat.Rdev
		}
		return uint64(q.stat.Mode&unix.S_IFMT) == field(kept.CheckB) && device == field(kept.CheckC)
	}
	return false
}

// sameBytes compares the beginning of the buffer.
func sameBytes(at uint64, n uintptr) bool {
	q := &quickly
	if n > unsafe.Sizeof(q.buffer) || uintptr(at)+n > q.size {
		return false
	}
	for i := uintptr(0); i < n; i++ {
		if q.buffer[i] != *(*byte)(unsafe.Add(unsafe.Pointer(&q.meta), uintptr(at)+i)) {
			return false
		}
	}
	return true
}

func checkStat(at uintptr, bits seen.Bits) bool {
	st := &quickly.stat
	flags := uintptr(unix.AT_SYMLINK_NOFOLLOW)
	if bits&seen.Follow != 0 {
		flags = 0
	}
	field := func(i uintptr) uint64 { return word(at + 8*i) }
	r := call(unix.SYS_NEWFSTATAT, here, uintptr(unsafe.Pointer(text(field(kept.CheckAt)))), uintptr(unsafe.Pointer(st)), flags)
	if r < 0 || field(kept.CheckA) != 0 {
		return uint64(-r) == field(kept.CheckA)
	}
	if uint64(st.Mode)|uint64(st.Uid)<<32 != field(kept.CheckB) || uint64(st.Gid) != field(kept.CheckC) ||
		uint64(st.Dev) != field(kept.CheckD) || st.Ino != field(kept.CheckE) {
		return false
	}
	if bits&seen.Links != 0 && uint64(st.Nlink) != field(kept.CheckF) {
		return false
	}
	return bits&seen.Content == 0 || uint64(st.Size) == field(kept.CheckG) &&
		st.Mtim.Sec*1e9+st.Mtim.Nsec == int64(field(kept.CheckH)) && st.Ctim.Sec*1e9+st.Ctim.Nsec == int64(field(kept.CheckI))
}

// begin takes what the run is to hold, gives the child its Program and tells it to go
// on. Nothing has happened where it says no.
func begin() bool {
	q := &quickly
	t := &q.taken
	if path := header(kept.AtClaim); path != 0 {
		how := uintptr(unix.LOCK_SH | unix.LOCK_NB)
		if header(kept.AtAlone) != 0 {
			how = unix.LOCK_EX | unix.LOCK_NB
		}
		t.Claim = call(unix.SYS_OPENAT, here, uintptr(unsafe.Pointer(text(path))), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if t.Claim < 0 || call(unix.SYS_FLOCK, uintptr(t.Claim), how, 0, 0) != 0 {
			return false
		}
	}
	if !mark() || !give() {
		return false
	}
	helpers := header(kept.AtHelpers) > 0
	if helpers && !mapping() {
		return false
	}
	call(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&q.mask)), 0, 8)
	signals := call(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&q.mask)), 8, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	q.poll[1] = unix.PollFd{Fd: int32(signals), Events: unix.POLLIN}
	// A child that has died already, and whose ids are being mapped, can't be begun anew.
	if signals < 0 || !tellGo() && !helpers {
		unblock()
		return false
	}
	ours := [...]int{0, 0, 1}
	for i := range early.pipes {
		for end := range early.pipes[i] {
			if i < len(ours) && end == ours[i] || i == 3 && end == 1 && helpers {
				continue
			}
			call(unix.SYS_CLOSE, uintptr(early.pipes[i][end]), 0, 0, 0)
			early.pipes[i][end] = 0
		}
	}
	return true
}

// mapping starts the helpers that map a range of ids, both at once: each is a program
// start of its own.
func mapping() bool {
	q := &quickly
	null := call(unix.SYS_OPENAT, here, uintptr(unsafe.Pointer(unsafe.StringData("/dev/null\x00"))), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if null < 3 {
		return false
	}
	h := &q.helper
	h.words = line{b: h.pid[:]}
	h.words.number(int(early.pid))
	h.envp[0], h.envp[1] = unsafe.StringData("PATH=/usr/bin:/bin\x00"), unsafe.StringData("LC_ALL=C\x00")
	for i := range q.taken.helpers {
		n, at := uintptr(header(kept.AtHelpers+2*uintptr(i))), header(kept.AtHelpers+2*uintptr(i)+1)
		if n < 2 || n > kept.MostWords {
			return false
		}
		for j := range n {
			h.argv[j] = text(at)
			at += uint64(len(cstring(text(at)))) + 1
		}
		h.argv[1], h.argv[n] = &h.pid[0], nil
		q.taken.helpers[i] = vexec(h.argv[0], &h.argv[0], &h.envp[0], null, &asking.before)
	}
	call(unix.SYS_CLOSE, uintptr(null), 0, 0, 0)
	return true
}

// mapped waits for the helpers and tells the child that its ids are mapped. That the
// child has died is found out later, as if it had died then.
func mapped() bool {
	q := &quickly
	ok := true
	for _, pid := range q.taken.helpers {
		if pid <= 0 {
			ok = false
			continue
		}
		for call(unix.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(&q.status)), 0, 0) == -int(unix.EINTR) {
		}
		ok = ok && q.status == [4]byte{}
	}
	if ok {
		q.status[0] = 1
		// Go, whose signal handler would see to it, is not there.
		q.ignore[0] = 1 // SIG_IGN
		call(unix.SYS_RT_SIGACTION, uintptr(unix.SIGPIPE), uintptr(unsafe.Pointer(&q.ignore)), uintptr(unsafe.Pointer(&asking.action)), 8)
		call(unix.SYS_WRITE, uintptr(early.pipes[3][1]), uintptr(unsafe.Pointer(&q.status)), 1, 0)
		call(unix.SYS_RT_SIGACTION, uintptr(unix.SIGPIPE), uintptr(unsafe.Pointer(&asking.action)), 0, 8)
	}
	call(unix.SYS_CLOSE, uintptr(early.pipes[3][1]), 0, 0, 0)
	early.pipes[3][1] = 0
	return ok || died()
}

// died says that the child has ended by itself. A helper that finds nobody to map ids
// for can be sooner than the end is seen: with a process its mounts and namespaces end,
// which takes a busy machine a while.
func died() bool {
	const patience = 2 // s
	q := &quickly
	q.poll[0] = unix.PollFd{Fd: early.pidFD, Events: unix.POLLIN}
	q.now = unix.Timespec{Sec: patience}
	return call(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&q.poll)), 1, uintptr(unsafe.Pointer(&q.now)), 0) == 1
}

// killed says that the child, which has ended, was ended by a signal: then it is not begun
// anew, whatever one of its own says that it could not do meanwhile, as who maps ids for
// it does.
func killed() bool {
	q := &quickly
	if call(unix.SYS_WAITID, unix.P_PID, uintptr(early.pid), uintptr(unsafe.Pointer(&q.ended)), unix.WEXITED|unix.WNOWAIT) != 0 {
		return false
	}
	const exited = 1 // CLD_EXITED, waitid(2)
	return q.ended[2] != exited
}

// give puts the Program where the child reads it from, once it is told to go on.
func give() bool {
	const first = program.FirstOp + kept.Skipped*program.OpSize
	length := uintptr(header(kept.AtLength))
	if length > program.AnotherAt-first || length%8 != 0 ||
		call(unix.SYS_PREAD64, uintptr(quickly.taken.File), early.block+first, length, uintptr(header(kept.AtProgram))) != int(length) {
		return false
	}
	block := *(*unsafe.Pointer)(unsafe.Pointer(&early.block))
	return kept.Sum(unsafe.Slice((*uint64)(unsafe.Add(block, first)), length/8)) == header(kept.AtWhole)
}

// tellGo sends the byte that lets the child go on.
func tellGo() bool {
	q := &quickly
	q.status[0] = 1
	return call(unix.SYS_SENDTO, uintptr(early.pipes[2][1]), uintptr(unsafe.Pointer(&q.status)), 1, unix.MSG_NOSIGNAL) == 1
}

// mark takes what an audit compares with afterwards, before the command can write:
// see package audit.
func mark() bool {
	q := &quickly
	path := header(kept.AtTree)
	if path == 0 {
		return true
	}
	q.how.Flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	q.how.Resolve = unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	t := &q.taken.Tree
	t.FD = call(unix.SYS_OPENAT2, here, uintptr(unsafe.Pointer(text(path))), uintptr(unsafe.Pointer(&q.how)), unsafe.Sizeof(q.how))
	if t.FD < 0 {
		return false
	}
	n := call(unix.SYS_GETDENTS64, uintptr(t.FD), uintptr(unsafe.Pointer(&q.dents)), unsafe.Sizeof(q.dents), 0)
	if n < 0 || call(unix.SYS_LSEEK, uintptr(t.FD), 0, unix.SEEK_SET, 0) != 0 {
		return false
	}
	t.Names = q.dents[:n]
	for i := range t.Clocks {
		call(unix.SYS_CLOCK_GETTIME, uintptr(TreeClocks[i]), uintptr(unsafe.Pointer(&t.Clocks[i])), 0, 0)
	}
	return true
}

// stand stands by the sandbox. It ends with the command's status where nobody has to
// do or say anything about it.
func stand() {
	q := &quickly
	if q.taken.helpers != [2]int{} && !mapped() {
		undo()
		return
	}
	if !comes(early.pipes[1][0]) && !soon(early.pipes[1][0]) {
		handOver()
		return
	}
	if q.poll[0].Revents&unix.POLLIN != 0 { // a step failed; else the report has ended
		if died() && killed() {
			handOver()
		} else {
			undo()
		}
		return
	}
	q.taken.Runs = true
	call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&q.taken.Since)), 0, 0)
	if sig := q.taken.Signal; sig != 0 && passOn(sig) {
		q.taken.Signal = 0
	}
	if q.taken.Signal != 0 || !comes(early.pipes[0][0]) {
		handOver()
		return
	}
	n := call(unix.SYS_READ, uintptr(early.pipes[0][0]), uintptr(unsafe.Pointer(&q.status)), uintptr(len(q.status)), 0)
	// Whatever the status: processes that the command left must be gone before Go
	// starts, which they could keep from having threads (RLIMIT_NPROC, pids.max).
	for call(unix.SYS_WAITID, unix.P_PID, uintptr(early.pid), 0, unix.WEXITED|unix.WNOWAIT) == -int(unix.EINTR) {
	}
	if n == len(q.status) && q.status == [4]byte{} && untouched() {
		call(unix.SYS_WAIT4, uintptr(early.pid), 0, 0, 0)
		exit(0)
	}
	if n > 0 && !putBack(n) {
		exit(failedStatus)
	}
	handOver()
}

// comes says that there is something to read from fd, or its end. It says no where a
// signal comes first that is not just passed on.
func comes(fd int32) bool {
	q := &quickly
	q.poll[0] = unix.PollFd{Fd: fd, Events: unix.POLLIN}
	for {
		n := call(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&q.poll)), uintptr(len(q.poll)), 0, 0)
		if n < 0 && n != -int(unix.EINTR) {
			return false
		}
		if n > 0 && q.poll[0].Revents != 0 { // first, as in watch.until
			return true
		}
		if n > 0 && q.poll[1].Revents != 0 &&
			call(unix.SYS_READ, uintptr(q.poll[1].Fd), uintptr(unsafe.Pointer(&q.info)), uintptr(len(q.info)), 0) == len(q.info) {
			if sig := unix.Signal(q.info[0]); !passOn(sig) {
				q.taken.Signal = sig
				return false
			}
		}
	}
}

// soon says that there is something to read from fd after all, or its end, a moment
// after a signal: the command can have been executed, and heard of, just before that is
// known here. As almost of package run.
func soon(fd int32) bool {
	const almost = 100_000_000 // ns
	q := &quickly
	if q.taken.Signal == 0 {
		return false
	}
	q.poll[0] = unix.PollFd{Fd: fd, Events: unix.POLLIN}
	q.now = unix.Timespec{Nsec: almost}
	return call(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&q.poll)), 1, uintptr(unsafe.Pointer(&q.now)), 0) == 1
}

// impatience is how soon a second SIGINT must follow to kill, in nanoseconds, as in
// package run.
const impatience = 2_000_000_000

// passOn gives the command a signal, if it runs and that is all there is to do. The Go
// runtime lets some signals through from its first moment on, blocked or not, and long
// before they are caught: SIGTERM would end this process, and all of the sandbox
// at once, where it comes twice as it does from timeout(1).
func passOn(sig unix.Signal) bool {
	q := &quickly
	if !q.taken.Runs || sig == unix.SIGTSTP || int(sig) > 31 {
		return false
	}
	if sig == unix.SIGINT {
		call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&q.now)), 0, 0)
		if q.last != 0 && q.now.Nano()-q.last < impatience {
			sig = unix.SIGKILL
		}
		q.last = q.now.Nano()
	}
	call(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(early.pidFD), uintptr(sig), 0, 0)
	return true
}

// putBack puts n bytes of the command's wait status where they can be read again.
func putBack(n int) bool {
	q := &quickly
	a := &asking
	if call(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&a.pair)), unix.O_CLOEXEC, 0, 0) != 0 {
		return false
	}
	call(unix.SYS_WRITE, uintptr(a.pair[1]), uintptr(unsafe.Pointer(&q.status)), uintptr(n), 0)
	call(unix.SYS_CLOSE, uintptr(a.pair[1]), 0, 0, 0)
	call(unix.SYS_CLOSE, uintptr(early.pipes[0][0]), 0, 0, 0)
	early.pipes[0][0] = a.pair[0]
	return true
}

// handOver leaves the sandbox to the runtime. Signals remain blocked, but for those that
// it lets through, see passOn, until Listen.
func handOver() {
	q := &quickly
	t := &q.taken
	call(unix.SYS_CLOSE, uintptr(q.poll[1].Fd), 0, 0, 0)
	if t.Tree.FD >= 0 {
		call(unix.SYS_LSEEK, uintptr(t.Tree.FD), 0, unix.SEEK_SET, 0)
	}
	for i, p := range [...]*[2]int{&t.Pipes.Status, &t.Pipes.Report, &t.Pipes.Go} {
		*p = [2]int{int(early.pipes[i][0]), int(early.pipes[i][1])}
	}
	t.pid, t.pidFD, t.begun = early.pid, early.pidFD, true
	t.Plan = int64(header(kept.AtPlan))
	early.pid = 0
}

// Listen lets signals come that wait since before the Go runtime: while it starts they
// would end this process. They come to the calling thread.
func (t *Taken) Listen() { unblock() }

// undo ends a sandbox that failed before its command ran, and forgets what was kept
// of it.
func undo() {
	q := &quickly
	call(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(early.pidFD), uintptr(unix.SIGKILL), 0, 0)
	for call(unix.SYS_WAIT4, uintptr(early.pid), 0, 0, 0) == -int(unix.EINTR) {
	}
	call(unix.SYS_UNLINKAT, here, q.path.address(), 0, 0)
	shut(q.taken.File, q.taken.Claim, q.taken.Tree.FD, int(q.poll[1].Fd), int(early.pidFD))
	for _, ends := range early.pipes {
		shut(int(ends[0]), int(ends[1]))
	}
	call(unix.SYS_MUNMAP, early.block, blockSize, 0, 0)
	early.pid, early.block = 0, 0
	unblock()
}

// shut closes what is open of these descriptors; 0 and below are none.
func shut(fds ...int) {
	for _, fd := range fds {
		if fd > 0 {
			call(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0)
		}
	}
}

// walk is a look at a tree: a buffer of names for each directory that is open, and how
// many names are still looked at.
type walk struct {
	start int64 // ns
	left  int
	stat  unix.Stat_t
	names [walkDepth][8 << 10]byte
}

// The bounds of a walk; beyond, the runtime does it.
const (
	walkDepth = 24
	walkMost  = 2000
)

// untouched says that nothing in the tree has changed since the mark, by the change
// times that no ordinary process can set (inode(7)), and that package audit would not
// have anything to say of it.
func untouched() bool {
	q := &quickly
	t := &q.taken.Tree
	if t.FD < 0 {
		return true
	}
	for i := 1; i < 3; i++ { // what the clock is set to now
		call(unix.SYS_CLOCK_GETTIME, uintptr(TreeClocks[i]), uintptr(unsafe.Pointer(&q.clocks[i])), 0, 0)
	}
	const tick = 10_000_000
	if q.clocks[1].Nano()-q.clocks[2].Nano() < t.Clocks[3].Nano()-t.Clocks[2].Nano()-tick {
		return false // it was set back
	}
	q.walk.start, q.walk.left = t.Clocks[0].Nano(), walkMost
	q.how.Resolve = unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH
	st := &q.walk.stat
	return call(unix.SYS_FSTAT, uintptr(t.FD), uintptr(unsafe.Pointer(st)), 0, 0) == 0 && q.walk.old() && q.walk.dir(t.FD, 0)
}

// old says that the inode in stat has not changed.
func (w *walk) old() bool { return w.stat.Ctim.Nano() < w.start && w.stat.Mtim.Nano() < w.start }

// dir looks at what is in a directory.
func (w *walk) dir(fd, depth int) bool {
	if depth == walkDepth {
		return false
	}
	b := &w.names[depth]
	for {
		n := call(unix.SYS_GETDENTS64, uintptr(fd), uintptr(unsafe.Pointer(b)), unsafe.Sizeof(*b), 0)
		if n <= 0 {
			return n == 0
		}
		for at := 0; at < n; {
			// struct linux_dirent64: inode and offset of 8 bytes, length of 2, type, name
			const length, name = 16, 19
			if !w.entry(fd, &b[at+name], depth) {
				return false
			}
			at += int(b[at+length]) | int(b[at+length+1])<<8
		}
	}
}

// entry looks at one name in a directory.
func (w *walk) entry(fd int, name *byte, depth int) bool {
	if s := cstring(name); s == "." || s == ".." {
		return true
	}
	w.left--
	st := &w.stat
	if w.left < 0 || call(unix.SYS_NEWFSTATAT, uintptr(fd), uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(st)), unix.AT_SYMLINK_NOFOLLOW) != 0 || !w.old() {
		return false
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return true
	}
	sub := call(unix.SYS_OPENAT2, uintptr(fd), uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&quickly.how)), unsafe.Sizeof(quickly.how))
	if sub < 0 {
		return false
	}
	ok := w.dir(sub, depth+1)
	call(unix.SYS_CLOSE, uintptr(sub), 0, 0, 0)
	return ok
}
