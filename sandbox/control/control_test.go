package control

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// dialVariable has this test's program connect to a socket, and end.
const dialVariable = "SBX_TEST_DIAL"

// stayVariable has it end only when its standard input does.
const stayVariable = "SBX_TEST_STAY"

func TestMain(m *testing.M) {
	if path := os.Getenv(dialVariable); path != "" {
		if _, err := Dial(path); err != nil {
			os.Exit(1)
		}
		if os.Getenv(stayVariable) != "" {
			_, _ = io.Copy(io.Discard, os.Stdin)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// listening makes a socket, whose path is as long as it is asked for.
func listening(t *testing.T, deep int) (path string, fd int) {
	t.Helper()
	dir := t.TempDir()
	for range deep {
		dir = filepath.Join(dir, strings.Repeat("d", 40))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "s")
	fd, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return path, fd
}

// connected makes a connection.
func connected(t *testing.T, path string, listen int) (asker, answerer *Conn) {
	t.Helper()
	asker, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(asker.Close)
	if answerer, err = Accept(listen); err != nil || answerer == nil {
		t.Fatalf("%v, %v", answerer, err)
	}
	t.Cleanup(answerer.Close)
	return asker, answerer
}

// TestTalk: requests and replies come as they were sent, with their descriptors,
// also by a path that is longer than an address.
func TestTalk(t *testing.T) {
	for _, deep := range []int{0, 5} {
		path, listen := listening(t, deep)
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", st, err)
		}
		if c, err := Accept(listen); c != nil || err != nil {
			t.Fatalf("nobody has connected: %v, %v", c, err)
		}
		asker, answerer := connected(t, path, listen)
		if _, _, err := answerer.Next(); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("nothing was asked: %v", err)
		}
		want := Request{Op: Exec, Process: &Process{Argv: []string{"true"}, Env: []string{"A=1"}}}
		if err := asker.Ask(want, 0, 1); err != nil {
			t.Fatal(err)
		}
		got, fds, err := answerer.Next()
		CloseAll(fds)
		if err != nil || got.Op != want.Op || !slices.Equal(got.Process.Argv, want.Process.Argv) || len(fds) != 2 {
			t.Errorf("%+v, %v, %v", got, fds, err)
		}
		if err := answerer.Reply(Reply{Event: Failed, Error: "no", Code: 126}); err != nil {
			t.Fatal(err)
		}
		_, _, err = asker.Answer()
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Reason != "no" || refused.Code() != 126 {
			t.Errorf("%v", err)
		}
		answerer.Close()
		if _, _, err := asker.Answer(); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	}
}

// TestWrongMessages: what is no message of this protocol is an error, and no
// descriptor of it stays open.
func TestWrongMessages(t *testing.T) {
	path, listen := listening(t, 0)
	for name, text := range map[string]string{
		"no JSON":         "stop",
		"another version": `{"version":99,"op":"stop"}`,
		"another type":    `{"version":1,"op":7}`,
		"too long":        `{"version":1,"op":"` + strings.Repeat("x", MaxMessage) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			asker, answerer := connected(t, path, listen)
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(p[0])
			if err := unix.Sendmsg(asker.FD(), []byte(text), unix.UnixRights(p[1]), nil, 0); err != nil {
				t.Fatal(err)
			}
			unix.Close(p[1])
			if r, _, err := answerer.Next(); err == nil || errors.Is(err, unix.EAGAIN) {
				t.Errorf("%+v, %v", r, err)
			}
			// The pipe has no writer any more.
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(p[0])}}, 0); err != nil || n != 1 {
				t.Errorf("the descriptor that came is open: %d, %v", n, err)
			}
		})
	}
}

// TestUnread: who closes a connection without reading all of it is heard all the same,
// whether that comes before, or after, the other side asks.
func TestUnread(t *testing.T) {
	path, listen := listening(t, 0)
	for _, late := range []bool{false, true} {
		asker, answerer := connected(t, path, listen)
		ask := func() {
			if err := asker.Ask(Request{Op: Stop}); err != nil {
				t.Errorf("late: %v, asking: %v", late, err)
			}
		}
		if !late {
			ask()
		}
		if err := answerer.Reply(Reply{Event: Failed, Code: 125, Error: "no room"}); err != nil {
			t.Fatal(err)
		}
		answerer.Close()
		if late {
			ask()
		}
		var refused *RefusedError
		if _, _, err := asker.Answer(); !errors.As(err, &refused) || refused.Reason != "no room" {
			t.Errorf("late: %v, it hears %v", late, err)
		}
		if _, _, err := asker.Answer(); !errors.Is(err, ErrClosed) {
			t.Errorf("late: %v, then it hears %v", late, err)
		}
	}
}

// TestGone: who connected and has ended commands nothing: its number may be
// another's, and its end of the connection anybody's.
func TestGone(t *testing.T) {
	path, listen := listening(t, 0)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), dialVariable+"="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	for { // dead, and not yet waited for: what /proc says of it can still be read
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1); err == nil && n == 1 {
			break
		}
	}
	c, err := Accept(listen)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return
	}
	defer c.Close()
	if _, err := unix.GetsockoptInt(c.FD(), unix.SOL_SOCKET, unix.SO_PEERPIDFD); errors.Is(err, unix.ENOPROTOOPT) {
		t.Log("Linux before 6.5 does not tell")
		return
	}
	t.Error("a process that has ended was let in")
}

func TestDepth(t *testing.T) {
	for _, tt := range []struct {
		status string
		want   int
	}{
		{"Name:\tsbx\nNSpid:\t123\nNSpgid:\t123\n", 1},
		{"Name:\tx\nNSpid:\t123\t4\nNSpgid:\t1\n", 2},
		{"NSpid:\t1\t2\t3\n", 3},
		{"Name:\tNSpid: 1\n", 0},
		{"", 0},
	} {
		if got := depth([]byte(tt.status)); got != tt.want {
			t.Errorf("depth(%q) = %d, want %d", tt.status, got, tt.want)
		}
	}
}

// TestPeers: who is in PID namespaces of its own is refused;
// its like that is in none is not.
func TestPeers(t *testing.T) {
	peers := OpenPeers()
	try := func(attr *syscall.SysProcAttr) error {
		path, listen := listening(t, 0)
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe)
		cmd.Env, cmd.SysProcAttr = append(os.Environ(), dialVariable+"="+path, stayVariable+"=1"), attr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Skipf("no namespaces: %v", err)
		}
		defer cmd.Wait()
		defer in.Close()
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(listen), Events: unix.POLLIN}}, 60_000); n != 1 {
			t.Fatalf("nobody connects: %v", err)
		}
		var refused error
		c, err := AcceptIf(listen, func(fd int) error { refused = peers.May(fd); return refused })
		if err != nil {
			t.Fatal(err)
		}
		if c != nil {
			c.Close()
		}
		return refused
	}
	if err := try(nil); err != nil {
		t.Errorf("one of the user's, in no sandbox: %v", err)
	}
	same := []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
	inside := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID, UidMappings: same}
	if err := try(inside); !errors.Is(err, unix.EPERM) {
		t.Errorf("one in a sandbox: %v", err)
	}
}
