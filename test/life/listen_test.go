package life

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// activated is the command argv with files as descriptors 3 and up, and the
// variables that a service manager would set for it; vars may say otherwise.
func activated(w *world.World, files []*os.File, vars string, argv ...string) *exec.Cmd {
	script := fmt.Sprintf("export LISTEN_PID=$$ LISTEN_FDS=%d; %s\nexec \"$@\"", len(files), vars)
	cmd := w.Command(append([]string{"sh", "-c", script, "sh"}, argv...)...)
	cmd.ExtraFiles = files
	return cmd
}

// listening is a socket that listens, and its address.
func listening(t *testing.T) (*os.File, string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, l.Addr().String()
}

// TestListenFDs serves one connection by a socket that sbx was given.
func TestListenFDs(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	serve := []string{"sh", "-c", `test "$LISTEN_PID" = $$ && exec "$0" accept 3 "$LISTEN_FDS $LISTEN_FDNAMES"`, w.Probe}
	asked := w.Profile(t, "[process]\nlisten_fds = true\n")
	for _, tt := range []struct {
		name, vars string
		argv       []string
		want       string // what the one who connects reads
	}{
		{"control: without a sandbox", "LISTEN_FDNAMES=web; export LISTEN_FDNAMES", serve, "1 web"},
		{"the flag", "LISTEN_FDNAMES=web; export LISTEN_FDNAMES", append([]string{w.Sbx, "run", "--listen-fds", "--"}, serve...), "1 web"},
		{"the key", "", w.Sandboxed(asked, serve...), "1 unknown"},
		{"an id of its own", "", append([]string{w.Sbx, "run", "--user=root", asked, "--"}, serve...), "1 unknown"},
		{"a network of its own", "", append([]string{w.Sbx, "run", "--network=none", asked, "--"}, serve...), "1 unknown"},
		{"a host that refuses namespaces", "", world.Refused(append([]string{w.Sbx, "run", "--set", "security.fallback=landlock", "--listen-fds", "--"}, serve...)...), "1 unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.argv[0] != w.Sbx && tt.argv[0] != "sh" {
				sbxtest.Require(t, sbxtest.Landlock, sbxtest.Tool("unshare"), sbxtest.Tool("setpriv"))
			}
			f, address := listening(t)
			cmd := activated(w, []*os.File{f}, tt.vars, tt.argv...)
			done := make(chan world.Result, 1)
			conn, err := net.Dial("tcp4", address) // it waits in the backlog
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() { done <- world.Wait(t, cmd) }()
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			said, err := io.ReadAll(conn)
			if got := <-done; got.Code != 0 || err != nil || string(said) != tt.want {
				t.Errorf("%q, %v, want %q; status %d: %s", said, err, tt.want, got.Code, got.Err)
			}
		})
	}
}

// TestListenFDsUnasked starts sandboxes that nothing is to be passed on to.
func TestListenFDsUnasked(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	look := []string{"sh", "-c", `echo "$LISTEN_PID$LISTEN_FDS$LISTEN_FDNAMES"; for fd in 3 4 5; do test ! -e /proc/self/fd/$fd || echo $fd; done`}
	asked := append([]string{w.Sbx, "run", "--listen-fds", "--"}, look...)
	f, _ := listening(t)
	for name, cmd := range map[string]*exec.Cmd{
		"nobody asked":             activated(w, []*os.File{f}, "", append([]string{w.Sbx, "run", "--"}, look...)...),
		"it is somebody else's":    activated(w, []*os.File{f}, "LISTEN_PID=1", asked...),
		"whose it is is no number": activated(w, []*os.File{f}, "LISTEN_PID=$$x", asked...),
		"there are no variables":   activated(w, []*os.File{f}, "unset LISTEN_PID LISTEN_FDS", asked...),
		"none":                     activated(w, []*os.File{f}, "LISTEN_FDS=0", asked...),
	} {
		if got := world.Wait(t, cmd); got.Code != 0 || got.Out != "\n" {
			t.Errorf("%s: status %d, %q %s", name, got.Code, got.Out, got.Err)
		}
	}
	// The control: what is looked for would be seen.
	own := append([]string{w.Sbx, "run", "--listen-fds", "-e", "LISTEN_FDS=9", "-e", "LISTEN_PID=1", "--"}, look...)
	if got := world.Wait(t, activated(w, []*os.File{f, f}, "", own...)); got.Out != "22unknown:unknown\n3\n4\n" {
		t.Errorf("control: %q %s", got.Out, got.Err)
	}
}

// TestListenFDsWrong passes what can't be passed on.
func TestListenFDsWrong(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	f, _ := listening(t)
	dir, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	path, err := unix.Open(w.Victim+"/key", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := os.NewFile(uintptr(path), "key")
	defer name.Close()
	for _, tt := range []struct {
		files []*os.File
		vars  string
		flags []string
		want  string
	}{
		{[]*os.File{f}, "LISTEN_FDS=2", nil, "LISTEN_FDS says 2, and descriptor 4 was not passed to sbx"},
		{[]*os.File{f}, "LISTEN_FDS=12", nil, "LISTEN_FDS says 12, and descriptor 4 was not passed to sbx"},
		{[]*os.File{f, f}, "exec 3<&-", nil, "descriptor 3 was not passed to sbx"},
		{[]*os.File{f}, "LISTEN_FDS=65", nil, "sbx passes 64 descriptors at most"},
		{[]*os.File{f}, "LISTEN_FDS=-1", nil, `LISTEN_FDS="-1" is not a number of descriptors`},
		{[]*os.File{f}, "LISTEN_FDS=1x", nil, `LISTEN_FDS="1x" is not a number of descriptors`},
		{[]*os.File{f}, "unset LISTEN_FDS", nil, `LISTEN_FDS="" is not a number of descriptors`},
		{[]*os.File{f}, "export LISTEN_FDNAMES=a:b", nil, "LISTEN_FDNAMES has 2 names for 1 descriptors"},
		{[]*os.File{f}, "export LISTEN_FDNAMES=$(printf 'a\\033b')", nil, "is no name"},
		{[]*os.File{f, dir}, "", nil, "descriptor 4 is neither a socket nor a FIFO"},
		{[]*os.File{name}, "", nil, "descriptor 3 is neither a socket nor a FIFO"},
		{[]*os.File{f}, "", []string{"--detach"}, "what was passed to sbx does not reach a sandbox in the background"},
	} {
		argv := append(append([]string{w.Sbx, "run", "--listen-fds"}, tt.flags...), "--", "sh", "-c", "echo ran >ran")
		got := world.Wait(t, activated(w, tt.files, tt.vars, argv...))
		if got.Code != 125 || !strings.Contains(got.Err, tt.want) {
			t.Errorf("%s %s: status %d, %s; want %q", tt.vars, tt.flags, got.Code, got.Err, tt.want)
		}
		if _, err := os.Stat(w.Work + "/ran"); err == nil {
			t.Errorf("%s: the command ran", tt.vars)
		}
	}
}

// TestListenFDsHeld passes a connection, as a socket with Accept=yes does: nobody
// but the command may hold it, or the other side would not see its end.
func TestListenFDsHeld(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	// It holds the connection until it is told to let go, and lives on.
	cmd := activated(w, []*os.File{theirs}, "", w.Sbx, "run", "--listen-fds", "--name", "held", "--", "sh", "-c", "echo here >&3; read word <&3; exec 3>&-; read word")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ours.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 16)
	if n, err := conn.Read(text); err != nil || string(text[:n]) != "here\n" {
		t.Fatalf("control: the command says %q, %v", text[:n], err)
	}
	look := `for fd in 3 4 5; do test ! -e /proc/self/fd/$fd || readlink /proc/self/fd/$fd; done; env | grep ^LISTEN; :`
	if got := sbx(t, w, 0, "exec", "held", "sh", "-c", look); got != "" {
		t.Errorf("a further command has %q", got)
	}
	if _, err := conn.Write([]byte("let go\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(text); n != 0 || err != io.EOF {
		t.Errorf("the command has let go, and somebody holds the connection: %q, %v", text[:n], err)
	}
	stdin.Close()
	_ = cmd.Wait()
}

// TestSocketActivate has systemd's own program pass the socket.
func TestSocketActivate(t *testing.T) {
	sbxtest.Require(t, sbxtest.Tool("systemd-socket-activate"))
	sbxtest.Leftovers(t)
	w := world.New(t)
	path := w.Home + "/run/activate.sock"
	cmd := w.Command("systemd-socket-activate", "-l", path, "--fdname=web", w.Sbx, "run", "--listen-fds", "--", "sh", "-c", `test "$LISTEN_PID" = $$ && exec "$0" accept 3 "$LISTEN_FDS $LISTEN_FDNAMES"`, w.Probe)
	done := make(chan world.Result, 1)
	go func() { done <- world.Wait(t, cmd) }()
	var conn net.Conn
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if conn, err = net.Dial("unix", path); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if got := <-done; got.Code != 0 || err != nil || string(said) != "1 web" {
		t.Errorf("%q, %v; status %d: %s", said, err, got.Code, got.Err)
	}
}
