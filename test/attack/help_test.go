package attack

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/pty"
	"github.com/sbx-sandbox/sbx/test/world"
)

// at runs a command in a session of its own with term as its terminal, on the
// standard descriptors that mask says, and returns its status.
func at(t *testing.T, w *world.World, term *pty.Terminal, mask int, argv ...string) int {
	t.Helper()
	cmd := w.Command(argv...)
	ctty := 0
	for fd := range 3 {
		if mask&(1<<fd) == 0 {
			continue
		}
		ctty = fd
		switch fd {
		case 0:
			cmd.Stdin = term.Slave
		case 1:
			cmd.Stdout = term.Slave
		case 2:
			cmd.Stderr = term.Slave
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: ctty}
	return world.Wait(t, cmd).Code
}

// holding runs a probe that holds what it took, does something meanwhile, and
// returns what the probe said.
func holding(t *testing.T, cmd *exec.Cmd, hold string, meanwhile func()) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout = &out
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 64)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(errs); s.Scan(); {
			lines <- s.Text()
		}
	}()
	said := []string{}
	for line := range lines {
		if line == "holding" {
			meanwhile()
			os.Remove(hold)
			break
		}
		said = append(said, line)
	}
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for line := range lines {
		said = append(said, line)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%q: %v: %s", cmd.Args, err, strings.Join(said, "\n"))
	}
	return out.String()
}

// openPath opens a path with O_PATH, which needs no permission on the file.
func openPath(t *testing.T, path string) *os.File {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), path)
}
