package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Passed is what a service manager passed to this process: descriptors from 3 on
// (sd_listen_fds(3)).
type Passed struct {
	// Names has a name for each of them, "unknown" where there is none.
	Names []string
	// Others says that there are variables for it which mean another process: they
	// were inherited, and so is what they tell of, if it is there at all.
	Others bool
	Err    error // why what was passed can't be made use of
}

// mostPassed keeps a sandbox's own descriptors low enough.
const mostPassed = 64

// FindPassed looks for descriptors that were passed to this process, and marks
// them close-on-exec: no other program that sbx starts is to have them. It must be
// called before any is started, and only once: what is close-on-exec already was
// opened by this process, whatever the variables say.
func FindPassed() (p Passed) {
	switch pid := os.Getenv("LISTEN_PID"); pid {
	case "":
		return p
	case strconv.Itoa(os.Getpid()):
	default:
		return Passed{Others: true}
	}
	p.Names, p.Err = passed(os.Getenv("LISTEN_FDS"))
	if p.Err == nil {
		p.Err = nameThem(p.Names)
	}
	return p
}

// passed checks as many descriptors as count says.
func passed(count string) ([]string, error) {
	n, err := strconv.Atoi(count)
	switch {
	case err != nil || n < 0:
		return nil, fmt.Errorf("LISTEN_FDS=%q is not a number of descriptors", count)
	case n > mostPassed:
		return nil, fmt.Errorf("LISTEN_FDS says %d, and sbx passes %d descriptors at most", n, mostPassed)
	}
	for fd := 3; fd < 3+n; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return nil, fmt.Errorf("LISTEN_FDS says %d, and descriptor %d was not passed to sbx", n, fd)
		}
	}
	for fd := 3; fd < 3+n; fd++ {
		unix.CloseOnExec(fd)
	}
	for fd := 3; fd < 3+n; fd++ {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, fmt.Errorf("looking at descriptor %d: %w", fd, err)
		}
		if t := st.Mode & unix.S_IFMT; t != unix.S_IFSOCK && t != unix.S_IFIFO {
			return nil, fmt.Errorf("descriptor %d is neither a socket nor a FIFO, by which the command could get at files outside", fd)
		}
	}
	return make([]string, n), nil
}

// nameThem takes the names out of LISTEN_FDNAMES; systemd.socket(5),
// FileDescriptorName=, says what one looks like.
func nameThem(names []string) error {
	list, ok := os.LookupEnv("LISTEN_FDNAMES")
	given := strings.Split(list, ":")
	if ok && len(given) != len(names) && (list != "" || len(names) > 0) {
		return fmt.Errorf("LISTEN_FDNAMES has %d names for %d descriptors", len(given), len(names))
	}
	for i := range names {
		names[i] = "unknown"
		if !ok || given[i] == "" {
			continue
		}
		if len(given[i]) > 255 || strings.ContainsFunc(given[i], func(c rune) bool { return c < ' ' || c >= 0x7f }) {
			return fmt.Errorf("LISTEN_FDNAMES: %q is no name", given[i])
		}
		names[i] = given[i]
	}
	return nil
}
