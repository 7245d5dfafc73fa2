package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// isOwn tells whether a name has the form that MakeOwn takes.
func isOwn(name string) bool {
	id, has := strings.CutPrefix(name, "sbx-")
	return has && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}

// MakeOwn makes a group below g by a name of the form sbx-ID, with 12 hexadecimal
// digits, and removes those that a killed sbx left there: groups of such names that
// have no process and that nobody holds. The new one is held as long as the
// descriptor is open (flock(2) on its directory).
func (g Group) MakeOwn(name string) (made Group, held int, err error) {
	if !isOwn(name) {
		return "", -1, fmt.Errorf("making a control group: %q is not of the form sbx-ID", name)
	}
	// Between the making of one and its lock nobody else looks.
	above, err := g.lock(5 * time.Second)
	if err != nil {
		return "", -1, err
	}
	defer unix.Close(above)
	g.sweep()
	if made, err = g.Make(name); err != nil {
		return "", -1, err
	}
	if held, err = made.lock(0); err != nil {
		return "", -1, errors.Join(err, made.Remove())
	}
	return made, held, nil
}

// sweep removes what MakeOwn made and nobody uses. What can't be removed stays, as
// it would without.
func (g Group) sweep() {
	entries, err := os.ReadDir(string(g))
	if err != nil {
		return
	}
	for _, e := range entries {
		if !isOwn(e.Name()) {
			continue
		}
		left := Group(g.file(e.Name()))
		held, err := left.lock(0)
		if err != nil {
			continue
		}
		if n, err := left.number("cgroup.events", "populated"); err == nil && n == 0 {
			_ = left.Remove()
		}
		unix.Close(held)
	}
}

// lock locks the group's directory until the descriptor is closed. With patience it
// waits that long for others to be done.
func (g Group) lock(patience time.Duration) (int, error) {
	fd, err := unix.Open(string(g), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening the control group %s: %w", g, err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || !time.Now().Before(end) {
			unix.Close(fd)
			return -1, fmt.Errorf("locking the control group %s, which another sbx may hold: %w", g, err)
		}
	}
}
