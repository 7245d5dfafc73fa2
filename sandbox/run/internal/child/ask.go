package child

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is here asks for another command in a sandbox before the Go runtime starts,
// which takes longer than all the rest of `sbx exec [-i] NAME COMMAND...`, and waits
// for its end. The entry (entry_amd64.s) calls it.
//
// It is Go without the runtime: there is no heap, no other thread, and nobody to
// tell of a panic. So it works in the variables of this file, calls nothing that
// allocates, and looks before it indexes. Whatever is out of the ordinary it leaves
// to the runtime, which begins from the start if nothing was asked for yet, and
// else where ask has left: see EarlyRequest.

// entryStack is the stack as the kernel made it: the number of words, the words, the
// environment. entryG stands in for the runtime's g and entryTLS for the thread's
// memory, where Go's code looks for it. The entry sets them.
var (
	entryStack unsafe.Pointer
	//lint:ignore U1000 the assembly points to it
	entryG [64]uintptr
	//lint:ignore U1000 the assembly sets it
	entryTLS [2]uintptr
)

// Request is another command that was asked for: by which connection, and where its
// wait status and its pidfd come from. Signal came meanwhile, 0 for none, and is not
// passed on yet.
type Request struct {
	Conn, Status, Socket int
	Signal               unix.Signal
}

// EarlyRequest hands over, to its first caller, what was asked for before the Go
// runtime and needs somebody to go on with: a signal came, the command was not
// executed, the sandbox ended. The arguments are those of `exec`: the sandbox, then
// the command.
func EarlyRequest() (r Request, ok bool) {
	r, ok = asking.asked, asking.asked.Conn > 0
	asking.asked = Request{}
	return r, ok
}

// What the supervisor and its clients agree on; tests hold it against packages
// control and state.
const (
	requestBegin = `{"version":1,"op":"exec","process":{"argv":`
	requestEnd   = `,"env":[],"dir":"","cwd":"","terminal":[false,false,false],"detach":false}}`
	socketFile   = "/control.sock"
	idLength     = 12
	mostName     = 64
)

// heard are the signals that are passed on to the command.
const heard = 1<<(unix.SIGINT-1) | 1<<(unix.SIGTERM-1) | 1<<(unix.SIGHUP-1) | 1<<(unix.SIGQUIT-1) |
	1<<(unix.SIGUSR1-1) | 1<<(unix.SIGUSR2-1) | 1<<(unix.SIGTSTP-1) | 1<<(unix.SIGCONT-1) | 1<<(59-1)

const failedStatus = 125 // of sbx, and of a process that could not execute its command

// rights is a control message with five descriptors, see cmsg(3).
type rights struct {
	size        uint64
	level, kind int32
	fds         [5]int32
	_           int32
}

// asking is what ask works with.
var asking struct {
	asked   Request
	request line
	path    line
	part    unix.Iovec
	message unix.Msghdr
	rights  rights
	words   [16 << 10]byte // of request
	name    [256]byte      // of path
	address unix.RawSockaddrUnix
	stat    unix.Stat_t
	action  [4]uint64 // struct sigaction
	mask    uint64
	before  uint64 // the signals that were blocked before
	pair    [2]int32
	opened  [8]int32 // descriptors
	open    int      // how many of them
	poll    [2]unix.PollFd
	info    [128]byte // struct signalfd_siginfo
	status  [4]byte
}

// line is a text in a piece of memory, with a NUL after it.
type line struct {
	b    []byte
	n    int
	over bool // it did not fit
}

func (l *line) add(c byte) {
	if l.n+1 >= len(l.b) {
		l.over = true
		return
	}
	l.b[l.n], l.b[l.n+1] = c, 0
	l.n++
}

func (l *line) text(s string) {
	for i := 0; i < len(s); i++ {
		l.add(s[i])
	}
}

// quote adds a string of JSON. What is no ASCII does not fit.
func (l *line) quote(s string) {
	const digits = "0123456789abcdef"
	l.add('"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 0x80:
			l.over = true
		case c < 0x20:
			l.text(`\u00`)
			l.add(digits[c>>4])
			l.add(digits[c&15])
		case c == '"' || c == '\\':
			l.add('\\')
			l.add(c)
		default:
			l.add(c)
		}
	}
	l.add('"')
}

func (l *line) number(n int) {
	if n > 9 {
		l.number(n / 10)
	}
	l.add(byte('0' + n%10))
}

func (l *line) address() uintptr { return uintptr(unsafe.Pointer(&l.b[0])) }

// call makes a system call. What it returns is negative where that failed.
func call(nr, a, b, c, d uintptr) int {
	r, _, errno := syscall.RawSyscall6(nr, a, b, c, d, 0, 0)
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}

// cstring is a string of C.
func cstring(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return unsafe.String(p, n)
}

// variable is one of the environment at p, "" where there is none. Its name ends
// in "=".
func variable(p unsafe.Pointer, name string) string {
	for ; *(**byte)(p) != nil; p = unsafe.Add(p, unsafe.Sizeof(p)) {
		if s := cstring(*(**byte)(p)); len(s) >= len(name) && s[:len(name)] == name {
			return s[len(name):]
		}
	}
	return ""
}

// ask asks for the command, waits for its end and ends with its status. It returns
// where that is for the runtime.
//
//lint:ignore U1000 the entry calls it
func ask() {
	const most = 4096
	n := *(*int)(entryStack)
	if n < 4 || n > most {
		return
	}
	words := unsafe.Slice((**byte)(unsafe.Add(entryStack, 8)), n)
	env := unsafe.Add(entryStack, 8*(n+2))
	rest, input := words[2:], false
	if cstring(rest[0]) == "-i" {
		rest, input = rest[1:], true
	}
	if isShell(cstring(words[0])) || !compose(rest[1:]) || !locate(cstring(rest[0]), env) || !unheard() {
		return
	}
	a := &asking
	if !connect(input) {
		a.asked = Request{}
		for _, fd := range a.opened[:a.open] {
			call(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0)
		}
		unblock()
		return
	}
	await()
	unblock()
}

// compose puts the request for a command together: see package control.
func compose(argv []*byte) bool {
	a := &asking
	if len(argv) > 0 && cstring(argv[0]) == "--" {
		argv = argv[1:]
	}
	if len(argv) == 0 || *argv[0] == 0 {
		return false
	}
	a.request = line{b: a.words[:]}
	l := &a.request
	l.text(requestBegin)
	for i, word := range argv {
		if i == 0 {
			l.add('[')
		} else {
			l.add(',')
		}
		l.quote(cstring(word))
	}
	l.add(']')
	l.text(requestEnd)
	return !l.over
}

// isShell says that sbx was called by the name that makes it `sbx sh`: then "exec"
// is a script's name.
func isShell(program string) bool {
	for len(program) > 0 && program[len(program)-1] == '/' {
		program = program[:len(program)-1]
	}
	const name = "sbx-sh"
	return len(program) >= len(name) && program[len(program)-len(name):] == name
}

// locate finds the socket of the sandbox with a name, as package state does, where
// it is in the usual place and nobody else's.
func locate(name string, env unsafe.Pointer) bool {
	a := &asking
	if !isName(name) {
		return false
	}
	a.path = line{b: a.name[:]}
	l := &a.path
	uid := call(unix.SYS_GETUID, 0, 0, 0, 0)
	dir := variable(env, "XDG_RUNTIME_DIR=")
	if len(dir) > 0 && dir[0] == '/' {
		if !isClean(dir) {
			return false
		}
		l.text(dir)
		if l.over || !isDir(uid, 0, 0) {
			return false
		}
		l.text("/sbx")
	} else {
		l.text("/tmp/sbx-")
		l.number(uid)
	}
	if l.over || !isDir(uid, unix.AT_SYMLINK_NOFOLLOW, 0o077) {
		return false
	}
	base := l.n
	l.text("/names/")
	l.text(name)
	if l.over {
		return false
	}
	to := a.info[:]
	n := call(unix.SYS_READLINKAT, here, l.address(), uintptr(unsafe.Pointer(&to[0])), uintptr(len(to)))
	if n != len("../")+idLength || to[0] != '.' || to[1] != '.' || to[2] != '/' {
		return false
	}
	l.n = base
	l.add('/')
	for _, c := range to[3:n] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
		l.add(c)
	}
	if l.over || !isDir(uid, unix.AT_SYMLINK_NOFOLLOW, 0o077) {
		return false
	}
	l.text(socketFile)
	if l.over || l.n >= len(a.address.Path) {
		return false
	}
	a.address.Family = unix.AF_UNIX
	for i, c := range l.b[:l.n] {
		a.address.Path[i] = int8(c)
	}
	return true
}

// here is AT_FDCWD, -100.
const here = ^uintptr(99)

func isName(s string) bool {
	if len(s) == 0 || len(s) > mostName {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return true
}

// isClean says that an absolute path means the same to the kernel and to package
// path/filepath.
func isClean(path string) bool {
	for begin, i := 1, 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if part := path[begin:i]; part == "" || part == "." || part == ".." {
			return false
		}
		begin = i + 1
	}
	return true
}

// isDir says that a.path is a directory of uid's, without the rights in others.
func isDir(uid int, flags uintptr, others uint32) bool {
	st := &asking.stat
	return call(unix.SYS_NEWFSTATAT, here, asking.path.address(), uintptr(unsafe.Pointer(st)), flags) == 0 &&
		st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == uid && st.Mode&others == 0
}

// unheard says that no signal that is passed on is ignored or blocked, which other
// programs leave so.
func unheard() bool {
	a := &asking
	for sig := uintptr(1); sig <= 64; sig++ {
		if uint64(heard)>>(sig-1)&1 == 0 {
			continue
		}
		if call(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&a.action)), 8) != 0 || a.action[0] != 0 {
			return false
		}
	}
	return call(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&a.before)), 8) == 0 && a.before&heard == 0
}

// unblock restores the mask.
func unblock() {
	call(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&asking.before)), 0, 8)
}

// opens notes a descriptor to close if nothing comes of it.
func opens(fd int) int {
	a := &asking
	if fd >= 0 && a.open < len(a.opened) {
		a.opened[a.open] = int32(fd)
		a.open++
	}
	return fd
}

// connect opens what is needed, and sends the request. input says that standard input
// is passed on.
func connect(input bool) bool {
	a := &asking
	null := opens(call(unix.SYS_OPENAT, here, uintptr(unsafe.Pointer(unsafe.StringData("/dev/null\x00"))), unix.O_RDWR|unix.O_CLOEXEC, 0))
	if null < 3 || !streams(int32(null), input) { // else one of those is closed
		return false
	}
	if call(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&a.pair)), unix.O_CLOEXEC, 0, 0) != 0 {
		return false
	}
	a.asked.Status, a.rights.fds[3] = opens(int(a.pair[0])), int32(opens(int(a.pair[1])))
	if call(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0, uintptr(unsafe.Pointer(&a.pair))) != 0 {
		return false
	}
	a.asked.Socket, a.rights.fds[4] = opens(int(a.pair[0])), int32(opens(int(a.pair[1])))
	a.mask = heard
	call(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&a.mask)), 0, 8)
	signals := opens(call(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&a.mask)), 8, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK))
	conn := opens(call(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0, 0))
	if signals < 0 || conn < 0 {
		return false
	}
	size := unsafe.Offsetof(a.address.Path) + uintptr(a.path.n) + 1
	if call(unix.SYS_CONNECT, uintptr(conn), uintptr(unsafe.Pointer(&a.address)), size, 0) != 0 {
		return false
	}
	a.rights.size, a.rights.level, a.rights.kind = uint64(unsafe.Offsetof(a.rights.fds)+unsafe.Sizeof(a.rights.fds)), unix.SOL_SOCKET, unix.SCM_RIGHTS
	a.part.Base, a.part.Len = &a.words[0], uint64(a.request.n)
	a.message.Iov, a.message.Iovlen = &a.part, 1
	a.message.Control, a.message.Controllen = (*byte)(unsafe.Pointer(&a.rights)), uint64(unsafe.Sizeof(a.rights))
	if call(unix.SYS_SENDMSG, uintptr(conn), uintptr(unsafe.Pointer(&a.message)), unix.MSG_NOSIGNAL, 0) < 0 {
		return false
	}
	for _, fd := range [...]int32{int32(null), a.rights.fds[3], a.rights.fds[4]} {
		call(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0)
	}
	a.asked.Conn = conn
	a.poll = [2]unix.PollFd{{Fd: int32(a.asked.Status), Events: unix.POLLIN}, {Fd: int32(signals), Events: unix.POLLIN}}
	return true
}

// streams chooses the command's standard descriptors, as `sbx exec` does: a file, a
// pipe and a socket are passed as they are, and null in the place of input without -i.
// Others are for the runtime.
func streams(null int32, input bool) bool {
	a := &asking
	for fd := range int32(3) {
		flags := call(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFL, 0, 0)
		if flags < 0 || flags&unix.O_PATH != 0 || call(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(&a.stat)), 0, 0) != 0 {
			return false
		}
		a.rights.fds[fd] = fd
		const nullDevice = 1<<8 | 3 // null(4)
		switch kind := a.stat.Mode & unix.S_IFMT; {
		case fd == 0 && !input, kind == unix.S_IFCHR && a.stat.Rdev == nullDevice:
			a.rights.fds[fd] = null
		case kind != unix.S_IFREG && kind != unix.S_IFIFO && kind != unix.S_IFSOCK:
			return false
		}
	}
	return true
}

// await waits for the command's end and ends with its status. It returns on what
// somebody has to act on or say something about.
func await() {
	a := &asking
	signals := uintptr(a.poll[1].Fd)
	for {
		n := call(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&a.poll)), uintptr(len(a.poll)), 0, 0)
		if n < 0 && n != -int(unix.EINTR) {
			break
		}
		if n > 0 && a.poll[0].Revents != 0 { // first, as in watch.until
			reap()
			break
		}
		if n > 0 && a.poll[1].Revents != 0 &&
			call(unix.SYS_READ, signals, uintptr(unsafe.Pointer(&a.info)), uintptr(len(a.info)), 0) == len(a.info) {
			a.asked.Signal = unix.Signal(a.info[0])
			break
		}
	}
	call(unix.SYS_CLOSE, signals, 0, 0, 0)
}

// reap reads the wait status, and puts one back that is not enough to end with:
// there is an answer to read.
func reap() {
	a := &asking
	n := call(unix.SYS_READ, uintptr(a.asked.Status), uintptr(unsafe.Pointer(&a.status)), uintptr(len(a.status)), 0)
	signal, code := a.status[0]&0x7f, a.status[1] // wait(2)
	if n == len(a.status) && signal != 0 {
		exit(128 + uintptr(signal))
	}
	if n == len(a.status) && code != failedStatus {
		exit(uintptr(code))
	}
	if n <= 0 {
		return // its end can be read again
	}
	if call(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&a.pair)), unix.O_CLOEXEC, 0, 0) != 0 {
		exit(failedStatus)
	}
	call(unix.SYS_WRITE, uintptr(a.pair[1]), uintptr(unsafe.Pointer(&a.status)), uintptr(n), 0)
	call(unix.SYS_CLOSE, uintptr(a.pair[1]), 0, 0, 0)
	call(unix.SYS_CLOSE, uintptr(a.asked.Status), 0, 0, 0)
	a.asked.Status = int(a.pair[0])
}

func exit(status uintptr) { call(unix.SYS_EXIT_GROUP, status, 0, 0, 0) }
