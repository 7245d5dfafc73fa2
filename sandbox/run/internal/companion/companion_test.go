package companion

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// A test binary plays the supervisor where a test kills one.
const roleVar = "SBX_TEST_COMPANION"

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) != "" {
		supervisor()
		return
	}
	os.Exit(m.Run())
}

// supervisor starts a companion, says its number and waits to be killed.
func supervisor() {
	signal.Ignore(syscall.SIGTERM)
	c, err := Start(sh("exec sleep 1000"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.PID)
	time.Sleep(time.Hour)
}

func sh(script string, files ...int) Spec {
	return Spec{Name: "helper", Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Files: files}
}

func begin(t *testing.T, s Spec) *Companion {
	t.Helper()
	c, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop(0) })
	return c
}

// readable waits up to ten seconds.
func readable(t *testing.T, fd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("descriptor %d: nothing came: %v", fd, err)
		}
		return
	}
}

// output starts a shell script with the rest of the descriptors and returns what
// it writes to standard output.
func output(t *testing.T, script string, more ...int) string {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r := os.NewFile(uintptr(p[0]), "pipe")
	defer r.Close()
	c := begin(t, sh(script, append([]int{Null, p[1], Captured}, more...)...))
	unix.Close(p[1])
	var b strings.Builder
	if _, err := bufio.NewReader(r).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	readable(t, c.PidFD)
	if ws, ended := c.Ended(); !ended || ws != 0 {
		t.Fatalf("%v", c.Failure())
	}
	return b.String()
}

func TestDescriptors(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	leak, err := unix.Dup(int(f.Fd())) // as a shell leaves one to sbx: not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	got := output(t, `for fd in /proc/self/fd/*; do [ -e "$fd" ] && echo "${fd##*/} $(readlink "$fd")"; done`, Null, int(f.Fd()))
	has := map[string]string{}
	for line := range strings.Lines(got) {
		fd, to, _ := strings.Cut(strings.TrimSpace(line), " ")
		has[fd] = to
	}
	if has["0"] != "/dev/null" || !strings.HasPrefix(has["1"], "pipe:") || !strings.HasPrefix(has["2"], "pipe:") || has["4"] != f.Name() {
		t.Errorf("descriptors of the program: %v", has)
	}
	delete(has, "4")
	for fd, to := range has {
		if n, _ := strconv.Atoi(fd); n > 2 && to == f.Name() {
			t.Errorf("it inherited descriptor %s, %s", fd, to)
		}
	}
}

func TestProcess(t *testing.T) {
	// Blocked and ignored by whoever started this: neither is to reach a companion.
	var pipe, old unix.Sigset_t
	pipe.Val[0] = 1<<(unix.SIGPIPE-1) | 1<<(unix.SIGTERM-1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &pipe, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	got := output(t, `cat /proc/self/stat; grep -E '^Sig(Ign|Blk)' /proc/self/status; env`)
	lines := strings.Split(strings.TrimSpace(got), "\n")
	stat := strings.Fields(lines[0][strings.LastIndex(lines[0], ")")+1:])
	if session, terminal := stat[3], stat[4]; session == sessionOf(t) || terminal != "0" {
		t.Errorf("session %s, terminal %s: %s", session, terminal, lines[0])
	}
	for _, line := range lines[1:3] {
		name, value, _ := strings.Cut(line, ":\t")
		mask, err := strconv.ParseUint(value, 16, 64)
		if err != nil || mask&(1<<(unix.SIGPIPE-1)|1<<(unix.SIGTERM-1)) != 0 {
			t.Errorf("%s has SIGPIPE or SIGTERM: %s", name, value)
		}
	}
	if env := strings.Join(lines[3:], "\n"); !strings.Contains(env, "PATH=/usr/bin:/bin") || strings.Contains(env, "HOME=") {
		t.Errorf("environment:\n%s", env)
	}
}

func sessionOf(t *testing.T) string {
	t.Helper()
	sid, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(sid)
}

func TestReady(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"ready", "echo >&3; exec sleep 1000", ""},
		{"ended", "echo no such device >&2; exit 3", "helper ended with status 3: no such device"},
		{"silent", "exit 3", "helper ended with status 3"},
		{"killed", "echo a >&2; echo b >&2; kill -9 $$", "helper was killed by SIGKILL: a; b"},
		{"let go", "exec 3>&-; exec sleep 1000", "helper has closed its descriptors"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := begin(t, sh(tt.script, Null, Null, Captured, Ready))
			readable(t, c.Ready)
			got := ""
			if err := c.IsReady(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name, path, want string
		is               error
	}{
		{"missing", "/none", "starting helper: /none: no such file or directory", unix.ENOENT},
		{"a directory", "/etc", "starting helper: /etc: permission denied", unix.EACCES},
		{"relative", "sh", `starting helper: BUG: "sh" is no absolute path`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := sbxtest.Descriptors(t)
			c, err := Start(Spec{Name: "helper", Path: tt.path, Files: []int{Null, Null, Captured, Ready}})
			if err == nil {
				c.Stop(0)
				t.Fatal("it was started")
			}
			if err.Error() != tt.want || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%q, want %q", err, tt.want)
			}
			if after := sbxtest.Descriptors(t); after != before {
				t.Errorf("%d descriptors open, %d before", after, before)
			}
		})
	}
}

func TestStop(t *testing.T) {
	before := sbxtest.Descriptors(t)
	for _, tt := range []struct {
		name, script string
		grace        time.Duration
		want         unix.WaitStatus
	}{
		{"in good order", `trap "exit 7" TERM; echo >&3; while :; do read x <&4; done`, 10 * time.Second, 7 << 8},
		{"stubborn", `trap "" TERM; echo >&3; exec sleep 1000`, 50 * time.Millisecond, unix.WaitStatus(unix.SIGKILL)},
		{"at once", `trap "exit 7" TERM; echo >&3; while :; do sleep .05; done`, 0, unix.WaitStatus(unix.SIGKILL)},
		// More than a pipe holds: it ends only if somebody reads.
		{"talkative", `trap 'head -c 300000 /dev/zero >&2; exit 7' TERM; echo >&3; while :; do read x <&4; done`, 10 * time.Second, 7 << 8},
		{"ended before", `echo >&3; exit 2`, time.Second, 2 << 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var quiet [2]int
			if err := unix.Pipe2(quiet[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			defer closeAll(quiet[:])
			c := begin(t, sh(tt.script, Null, Null, Captured, Ready, quiet[0]))
			readable(t, c.Ready)
			if err := c.IsReady(); err != nil {
				t.Fatal(err)
			}
			if tt.want == 2<<8 {
				readable(t, c.PidFD)
			}
			c.Stop(tt.grace)
			if c.status != tt.want || !c.ended {
				t.Errorf("wait status %#x, want %#x", c.status, tt.want)
			}
			if err := unix.Kill(c.PID, 0); !errors.Is(err, unix.ESRCH) {
				t.Errorf("it is still there: %v", err)
			}
			c.Stop(time.Second)
		})
	}
	if after := sbxtest.Descriptors(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

// TestSupervisorKilled: nothing is left of a companion whose supervisor was
// killed, whichever thread of it had started the companion.
func TestSupervisorKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVar+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(line)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as asked
	readable(t, fd)
}

func TestTail(t *testing.T) {
	long := strings.Repeat("a", kept) + strings.Repeat("b", 3*kept)
	for _, tt := range []struct{ name, in, want string }{
		{"short", "abc", "abc"},
		{"all", long[:2*kept], long[:2*kept]},
		{"long", long + "end", long[:kept] + " […] " + strings.Repeat("b", kept-3) + "end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 100, len(tt.in)} {
				var got tail
				for in := []byte(tt.in); len(in) > 0; in = in[min(size, len(in)):] {
					got.add(in[:min(size, len(in))])
				}
				if got.String() != tt.want {
					t.Errorf("in pieces of %d: %d bytes, want %d", size, len(got.String()), len(tt.want))
				}
			}
		})
	}
}
