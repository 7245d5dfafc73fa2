// Package control is what is said on a sandbox's control socket, and how.
//
//	sbx VERB --Request, with descriptors--> supervisor
//	supervisor --Reply, with descriptors--> sbx VERB
//
// The socket keeps messages apart (SOCK_SEQPACKET, unix(7)): each is one JSON
// object of at most MaxMessage bytes. It lies in a directory that only its owner
// can enter, has mode 0600, and the supervisor asks the kernel who connects.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Version is the protocol's. Both sides refuse any other.
const Version = 1

// MaxMessage is the longest message, in bytes. It fits into the kernel's default
// buffer (net.core.wmem_default).
const MaxMessage = 160 << 10

// MaxFDs is how many descriptors come with a message at most.
const MaxFDs = 8

// Op is what is asked for.
type Op string

// The operations.
const (
	Wait    Op = "wait"    // Ended follows when the sandbox has ended
	Stop    Op = "stop"    // Signal, and SIGKILL after Timeout
	Down    Op = "down"    // every process asked to end, the command last; killed after Timeout
	Kill    Op = "kill"    // Signal
	Exec    Op = "exec"    // Process, with stdin, stdout, stderr, the status pipe and a socket; Started, then Ended
	Attach  Op = "attach"  // Started brings pipes of stdout and stderr, and one for stdin if it is open; Ended
	Resize  Op = "resize"  // the terminal to Rows and Cols
	Rename  Op = "rename"  // to Name
	Pause   Op = "pause"   // stop every process
	Unpause Op = "unpause" // let them go on
	Restart Op = "restart" // Stop, and start the command again; Started when it runs
	Root    Op = "root"    // with a socket, over which the root directory comes; OK when it was sent
	Allow   Op = "grant"   // Grant
	Revoke  Op = "revoke"  // Grant, of which only the paths count
	Connect Op = "connect" // to Port of the loopback, with a socket, over which the connection comes; OK when it was sent
	EOF     Op = "eof"     // end the command's standard input
	// Network asks for the network namespace, which Started brings with Shared: the
	// asker is to be in it as long as it is connected. Joined says that it is; until
	// then it may make user namespaces in the sandbox's own, and others who ask wait.
	Network Op = "network"
	Refused Op = "refused" // OK brings the system calls that were refused so far
	Joined  Op = "joined"
)

// Request is what a verb asks of a supervisor.
type Request struct {
	Version int           `json:"version"`
	Op      Op            `json:"op"`
	Signal  int           `json:"signal,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // nanoseconds; negative is for ever
	Name    string        `json:"name,omitempty"`
	Rows    uint16        `json:"rows,omitempty"`
	Cols    uint16        `json:"cols,omitempty"`
	Port    uint16        `json:"port,omitempty"`
	Process *Process      `json:"process,omitempty"`
	Grant   *Grant        `json:"grant,omitempty"`
}

// Grant is a mount that comes while the sandbox runs. Path is its target or its
// source, Real the source without links; Write asks for more than reading it.
type Grant struct {
	Path  string        `json:"path"`
	Real  string        `json:"real,omitempty"`
	Write bool          `json:"write,omitempty"`
	For   time.Duration `json:"for,omitempty"` // nanoseconds, 0 until it is revoked
}

// Process is another command in a sandbox.
type Process struct {
	Argv []string `json:"argv"`
	// Env are variables beside, or in place of, those of the sandbox's command.
	Env []string `json:"env,omitempty"`
	Dir string   `json:"dir,omitempty"` // "" is the sandbox's
	// Cwd takes Dir's place where it is the same directory inside.
	Cwd string `json:"cwd,omitempty"`
	// Terminal says which of the standard descriptors are a terminal made inside.
	Terminal [3]bool `json:"terminal"`
	Detach   bool    `json:"detach,omitempty"` // it outlives the connection
	// Bytes takes the place of what is above, where that is no UTF-8: names of files
	// are any bytes.
	Bytes *Bytes `json:"bytes,omitempty"`
}

// Shared is what a sandbox in another's network has to know of it.
type Shared struct {
	// UID and GID are the caller's in the user namespace that owns the network.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// MaxUserNS is how many user namespaces there may be in it when nobody enters it,
	// 0 for any number.
	MaxUserNS int64 `json:"max_user_namespaces,omitempty"`
	// Resolv is resolv.conf, Hosts what hosts says beyond the loopback.
	Resolv string `json:"resolv,omitempty"`
	Hosts  string `json:"hosts,omitempty"`
	// Egress is the state of the feature egress_policy, By what holds it.
	Egress string `json:"egress"`
	By     string `json:"by"`
}

// Event is what a reply is about.
type Event string

// The events.
const (
	OK      Event = "ok"
	Started Event = "started"
	Ended   Event = "ended" // Code is the exit status
	Failed  Event = "failed"
)

// Reply is what a supervisor answers.
type Reply struct {
	Version int    `json:"version"`
	Event   Event  `json:"event"`
	Error   string `json:"error,omitempty"` // why it failed
	Code    int    `json:"code,omitempty"`  // an exit status: of the command, or of sbx on failure
	Said    string `json:"said,omitempty"`  // what there is to know of the end

	Shared *Shared `json:"shared,omitempty"`
	// Refused are the system calls that the sandbox's filter refused, as package
	// refusal has them; none where they are not traced.
	Refused json.RawMessage `json:"refused,omitempty"`
}

// Conn is an end of a connection.
type Conn struct{ fd int }

// Over is a connection that was made already.
func Over(fd int) *Conn { return &Conn{fd} }

// FD is its descriptor, for poll(2).
func (c *Conn) FD() int { return c.fd }

// Close ends the connection.
func (c *Conn) Close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
	}
	c.fd = -1
}

// address is how to call a socket that may lie deeper than the 107 bytes that
// unix(7) has room for: by a descriptor of its directory.
func address(path string, call func(unix.Sockaddr) error) error {
	if len(path) < 108 {
		return call(&unix.SockaddrUnix{Name: path})
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return call(&unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)})
}

func socket(path string, flags int, call func(fd int, a unix.Sockaddr) error) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a socket: %w", err)
	}
	if err := address(path, func(a unix.Sockaddr) error { return call(fd, a) }); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Listen makes the socket at path, which nobody else can connect to. Accept
// does not wait.
func Listen(path string) (fd int, err error) {
	return socket(path, unix.SOCK_NONBLOCK, func(fd int, a unix.Sockaddr) error {
		// The mode the file gets is the socket's own (unix(7)): nobody else can
		// connect at any time.
		if err := unix.Fchmod(fd, 0o600); err != nil {
			return &os.PathError{Op: "chmod", Path: path, Err: err}
		}
		if err := unix.Bind(fd, a); err != nil {
			return &os.PathError{Op: "bind", Path: path, Err: err}
		}
		if err := unix.Listen(fd, 16); err != nil {
			return &os.PathError{Op: "listen", Path: path, Err: err}
		}
		return nil
	})
}

// Dial connects to the supervisor that listens at path.
func Dial(path string) (*Conn, error) {
	fd, err := socket(path, 0, func(fd int, a unix.Sockaddr) error {
		for {
			if err := unix.Connect(fd, a); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	})
	if err != nil {
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	return &Conn{fd}, nil
}

// Accept takes the next connection, if its other side is a process of the
// caller's that is in no sandbox. It returns nil where there is none.
func Accept(listen int) (*Conn, error) { return AcceptIf(listen, mayCommand) }

// AcceptIf takes the next connection if its other side may connect. It returns nil
// where there is none.
func AcceptIf(listen int, may func(fd int) error) (*Conn, error) {
	fd, _, err := unix.Accept4(listen, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("accepting a connection: %w", err)
	}
	if err := may(fd); err != nil {
		unix.Close(fd)
		return nil, nil // who may not is told nothing
	}
	return &Conn{fd}, nil
}

// mayCommand refuses others, and processes of a user namespace of their own: a
// sandboxed command has the caller's uid, and may not command sandboxes even
// where a profile shows it the socket.
func mayCommand(fd int) error {
	return admit(fd, func(pid, _ int) error {
		var theirs, ours unix.Stat_t
		if err := unix.Stat("/proc/"+strconv.Itoa(pid)+"/ns/user", &theirs); err != nil {
			return err
		}
		if err := unix.Stat("/proc/self/ns/user", &ours); err != nil {
			return err
		}
		if theirs.Ino != ours.Ino || theirs.Dev != ours.Dev {
			return unix.EPERM
		}
		return nil
	})
}

// admit asks the kernel who connected (unix(7)). It refuses other users, whom
// outside refuses, and who has ended: that one may have left its number to somebody
// else, and the connection to others in its sandbox.
func admit(fd int, outside func(pid, pidfd int) error) error {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	if int(peer.Uid) != unix.Getuid() || peer.Pid <= 0 {
		return unix.EPERM
	}
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) { // before Linux 6.5 the number may be another's already
		pidfd, err = unix.PidfdOpen(int(peer.Pid), 0)
	}
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if err := outside(int(peer.Pid), pidfd); err != nil {
		return err
	}
	if Look([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}) {
		return unix.EPERM
	}
	return nil
}

// Look is a poll(2) that does not wait, and says whether it found anything. A
// signal interrupts even that, as SIGCHLD does just when a helper has ended; it
// tells nothing of the descriptors.
func Look(fds []unix.PollFd) bool {
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

// Send writes one message of another protocol than that of supervisors.
func (c *Conn) Send(m any, fds ...int) error { return c.send(m, 0, fds) }

// Receive reads one. The descriptors that came are the caller's to close.
func (c *Conn) Receive(m any) (fds []int, err error) { return c.receive(m, 0) }

// send writes one message. flags are MSG_DONTWAIT or 0.
func (c *Conn) send(m any, flags int, fds []int) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return c.sendText(text, flags, fds)
}

func (c *Conn) sendText(text []byte, flags int, fds []int) error {
	if len(text) > MaxMessage {
		return fmt.Errorf("it would take a message of %d bytes, and one has %d at most", len(text), MaxMessage)
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		if err := unix.Sendmsg(c.fd, text, oob, nil, flags|unix.MSG_NOSIGNAL); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// ErrClosed says that the other side has closed the connection.
var ErrClosed = errors.New("the connection was closed")

// receive reads one message into m. The descriptors that came are the caller's
// to close.
func (c *Conn) receive(m any, flags int) (fds []int, err error) {
	var n, oobn, got int
	size := 0 // what the next message takes
	for reset := false; ; reset = true {
		for {
			size, _, err = unix.Recvfrom(c.fd, nil, flags|unix.MSG_PEEK|unix.MSG_TRUNC)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		// Who closes a connection without having read all resets it, once: what was said
		// before can be read then.
		if reset || !errors.Is(err, unix.ECONNRESET) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	text := make([]byte, min(size, MaxMessage)+1)
	oob := make([]byte, unix.CmsgSpace(4*MaxFDs))
	for {
		n, oobn, got, _, err = unix.Recvmsg(c.fd, text, oob, flags|unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
		for i := range msgs {
			if list, err := unix.ParseUnixRights(&msgs[i]); err == nil {
				fds = append(fds, list...)
			}
		}
	}
	switch {
	case n == 0:
		err = ErrClosed
	case got&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 || n > MaxMessage:
		err = errors.New("a message that is too long")
	default:
		err = json.Unmarshal(text[:n], m)
	}
	if err != nil {
		CloseAll(fds)
		return nil, err
	}
	return fds, nil
}

// CloseAll closes descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// Ask sends a request.
func (c *Conn) Ask(r Request, fds ...int) error {
	r.Version = Version
	text, err := r.text()
	if err == nil {
		err = c.sendText(text, 0, fds)
	}
	if err != nil {
		return fmt.Errorf("asking the sandbox's supervisor: %w", err)
	}
	return nil
}

// RefusedError is what a supervisor refused or failed to do.
type RefusedError struct {
	Reason string
	Status int // sbx's exit status for it
}

func (e *RefusedError) Error() string { return e.Reason }

// Code is sbx's exit status.
func (e *RefusedError) Code() int { return e.Status }

// Answer waits for a reply. One that says that the request failed is a
// *RefusedError.
func (c *Conn) Answer() (Reply, []int, error) {
	var r Reply
	fds, err := c.receive(&r, 0)
	if err != nil {
		return Reply{}, nil, err
	}
	if r.Version != Version {
		CloseAll(fds)
		return Reply{}, nil, fmt.Errorf("the supervisor speaks version %d of the protocol, this sbx %d; use the sbx that the sandbox was started with", r.Version, Version)
	}
	if r.Event == Failed {
		CloseAll(fds)
		return Reply{}, nil, &RefusedError{Reason: r.Error, Status: r.Code}
	}
	return r, fds, nil
}

// Next reads a request, without waiting: unix.EAGAIN where there is none.
func (c *Conn) Next() (Request, []int, error) {
	var r Request
	fds, err := c.receive(&r, unix.MSG_DONTWAIT)
	if err == nil && r.Version != Version {
		CloseAll(fds)
		return Request{}, nil, fmt.Errorf("version %d of the protocol; the sandbox's supervisor speaks %d", r.Version, Version)
	}
	if err == nil && r.Process != nil {
		r.Process.restore()
	}
	return r, fds, err
}

// Reply answers, without waiting: who does not take answers gets none.
func (c *Conn) Reply(r Reply, fds ...int) error {
	r.Version = Version
	return c.send(&r, unix.MSG_DONTWAIT, fds)
}
