package caught

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roles are what this test binary does when it is started by a test. Catch
// changes the whole process for good, so each has one of its own.
var roles = map[string]func() error{"bytes": bytesRole, "ignored": ignoredRole, "rapid": rapidRole}

const roleVar = "SBX_TEST_CAUGHT"

func TestMain(m *testing.M) {
	role, ok := roles[os.Getenv(roleVar)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := role(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func TestCaught(t *testing.T) {
	for _, tt := range []struct{ name, role, shell string }{
		{"signals arrive as bytes", "bytes", `exec "$0"`},
		{"what is ignored stays so", "ignored", `trap "" HUP; exec "$0"`},
		{"a thousand at once", "rapid", `exec "$0"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("/bin/sh", "-c", tt.shell, self(t))
			cmd.Env = append(os.Environ(), roleVar+"="+tt.role)
			if got, err := cmd.CombinedOutput(); err != nil || string(got) != "ok\n" {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// next reads what has come, waiting up to ten seconds for the first byte.
func next(pipe int) ([]byte, error) {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pipe), Events: unix.POLLIN}}, 10_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return nil, fmt.Errorf("nothing came: %w", err)
		}
		b := make([]byte, 4096)
		n, err = unix.Read(pipe, b)
		return b[:max(n, 0)], err
	}
}

func bytesRole() error {
	all := []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH}
	pipe, err := Catch(all...)
	if err != nil {
		return err
	}
	if _, err := unix.Read(pipe, make([]byte, 1)); !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("an empty pipe gave %w", err)
	}
	for _, s := range all {
		if err := unix.Kill(unix.Getpid(), s); err != nil {
			return err
		}
		if got, err := next(pipe); err != nil || !slices.Equal(got, []byte{byte(s)}) {
			return fmt.Errorf("%s came as %v, %w", unix.SignalName(s), got, err)
		}
	}
	return nil
}

func ignoredRole() error {
	pipe, err := Catch(unix.SIGHUP, unix.SIGUSR1)
	if err != nil {
		return err
	}
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGUSR1} {
		if err := unix.Kill(unix.Getpid(), s); err != nil {
			return err
		}
	}
	if got, err := next(pipe); err != nil || !slices.Equal(got, []byte{byte(unix.SIGUSR1)}) {
		return fmt.Errorf("got %v, %w", got, err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(status), "SigIgn:\t")
	ignored, err := strconv.ParseUint(rest[:16], 16, 64)
	if err != nil || ignored&(1<<(unix.SIGHUP-1)) == 0 || ignored&(1<<(unix.SIGUSR1-1)) != 0 {
		return fmt.Errorf("ignored are %x, %w", ignored, err)
	}
	return nil
}

// rapidRole has signals come while the heap grows, goroutines switch and
// stacks move. Equal signals that are pending become one (signal(7)).
func rapidRole() error {
	pipe, err := Catch(unix.SIGUSR1, unix.SIGUSR2)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	for range 4 {
		go func() {
			for keep := [][]byte{{0}}; ; keep = append(keep[len(keep)/64:], make([]byte, 4096)) {
				select {
				case <-done:
					return
				default:
					keep[0][0] = byte(deep(100))
					runtime.Gosched()
				}
			}
		}()
	}
	for range 1000 {
		if err := unix.Kill(unix.Getpid(), unix.SIGUSR1); err != nil {
			return err
		}
	}
	if err := unix.Kill(unix.Getpid(), unix.SIGUSR2); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		got, err := next(pipe)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(got, func(b byte) bool { return b != byte(unix.SIGUSR1) && b != byte(unix.SIGUSR2) }) {
			return fmt.Errorf("got %v", got)
		}
		if slices.Contains(got, byte(unix.SIGUSR2)) {
			close(done)
			return nil
		}
	}
	return errors.New("the last signal did not come")
}

func deep(n int) int {
	if n == 0 {
		return 0
	}
	return deep(n-1) + 1
}
