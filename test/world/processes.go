package world

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process of the host.
type Process struct {
	PID, Parent int
	Name        string
	State       byte // as ps(1) shows it
	// Threads is how many there are. With more than one left the process is not at its
	// end, though its first one is (Z): the others still have what it has open.
	Threads int
}

func (p Process) String() string { return fmt.Sprintf("%d (%s, %c)", p.PID, p.Name, p.State) }

// Processes reads /proc. What ends meanwhile is left out.
func Processes(t testing.TB) []Process {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var list []Process
	for _, dir := range dirs {
		text, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		s := string(text)
		open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
		f := strings.Fields(s[end+1:])
		pid, _ := strconv.Atoi(filepath.Base(dir))
		parent, _ := strconv.Atoi(f[1])
		threads, _ := strconv.Atoi(f[17])
		list = append(list, Process{PID: pid, Parent: parent, Name: s[open+1 : end], State: f[0][0], Threads: threads})
	}
	return list
}

// Below are the living descendants of process pid.
func Below(t testing.TB, pid int) []Process {
	t.Helper()
	children := map[int][]Process{}
	for _, p := range Processes(t) {
		children[p.Parent] = append(children[p.Parent], p)
	}
	var list []Process
	for todo := children[pid]; len(todo) > 0; todo = todo[1:] {
		if todo[0].State != 'Z' && todo[0].State != 'X' || todo[0].Threads > 1 {
			list = append(list, todo[0])
		}
		todo = append(todo, children[todo[0].PID]...)
	}
	return list
}

// Adopt makes this process the parent of what its descendants leave behind, so
// that Below finds it (PR_SET_CHILD_SUBREAPER(2const)).
func Adopt(t testing.TB) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reap(t) })
}

// reap lets go of what was adopted and has ended. As long as nobody waits for
// it, a process that ended keeps its keyring, and a user has few (keyrings(7)).
//
// Precondition: what the test itself started has been waited for.
func reap(t testing.TB) {
	t.Helper()
	for _, p := range Processes(t) {
		if p.Parent == os.Getpid() && p.State == 'Z' {
			_, _ = unix.Wait4(p.PID, nil, unix.WNOHANG, nil)
		}
	}
}

// Gone waits until this process has no living descendants, for a second, and
// returns those that it still has then.
//
// Precondition: what the test itself started has been waited for.
func Gone(t testing.TB) []Process {
	t.Helper()
	for end := time.Now().Add(time.Second); ; time.Sleep(2 * time.Millisecond) {
		left := Below(t, os.Getpid())
		if len(left) == 0 || time.Now().After(end) {
			reap(t)
			return left
		}
	}
}

// Until waits for something to be true, and fails the test if it never is. Looking
// takes half of the time at most, since what is waited for needs the processor too.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); ; {
		looked := time.Now()
		switch {
		case is():
			return
		case time.Since(began) > time.Minute:
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(max(2*time.Millisecond, time.Since(looked)))
	}
}
