package host

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/host/internal/firstlimit"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// Remember adds to a log what Probe finds out that are no files, each as the system
// call that says so: who calls, within which limits, on which kernel, with which
// standard descriptors.
func Remember(l *seen.Log) error {
	ids := []struct {
		nr uintptr
		id int
	}{{unix.SYS_GETUID, unix.Getuid()}, {unix.SYS_GETEUID, unix.Geteuid()}, {unix.SYS_GETGID, unix.Getgid()}, {unix.SYS_GETEGID, unix.Getegid()}}
	for _, who := range ids {
		l.Ask(seen.Asked{Nr: who.nr, Answer: int64(who.id)}, nil)
	}
	groups, err := unix.Getgroups()
	if err != nil {
		return fmt.Errorf("reading supplementary groups: %w", err)
	}
	var b []byte
	for _, g := range groups {
		b = binary.NativeEndian.AppendUint32(b, uint32(g))
	}
	l.Ask(seen.Asked{Nr: unix.SYS_GETGROUPS, Args: [4]uintptr{seen.Buffer / 4}, Buffer: 2, Answer: int64(len(groups))}, b)
	if err := rememberKernel(l); err != nil {
		return err
	}
	if err := rememberLimits(l); err != nil {
		return err
	}
	l.Program()
	return rememberStreams(l)
}

func rememberKernel(l *seen.Log) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("asking for the kernel's version: %w", err)
	}
	var b []byte
	for _, field := range [][65]byte{u.Sysname, u.Nodename, u.Release, u.Version, u.Machine, u.Domainname} {
		b = append(b, field[:]...)
	}
	l.Ask(seen.Asked{Nr: unix.SYS_UNAME, Buffer: 1}, b)
	abi, err := LandlockABI()
	l.Ask(seen.Asked{Nr: unix.SYS_LANDLOCK_CREATE_RULESET, Args: [4]uintptr{0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION}, Answer: answer(abi, err)}, nil)
	err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0)
	l.Ask(seen.Asked{Nr: unix.SYS_PRCTL, Args: [4]uintptr{unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER}, Answer: answer(0, err)}, nil)
	b = make([]byte, seen.Buffer)
	n, err := unix.Getcwd(b)
	if err != nil {
		return fmt.Errorf("asking for the current directory: %w", err)
	}
	l.Ask(seen.Asked{Nr: unix.SYS_GETCWD, Args: [4]uintptr{0, seen.Buffer}, Buffer: 1, Answer: int64(n)}, b[:n])
	return nil
}

func rememberLimits(l *seen.Log) error {
	for resource := range len(Facts{}.Hard) {
		var r unix.Rlimit
		if err := unix.Prlimit(0, resource, nil, &r); err != nil {
			return fmt.Errorf("reading sbx's own limit of resource %d: %w", resource, err)
		}
		if resource == unix.RLIMIT_NOFILE { // package syscall has raised it
			r.Cur, r.Max = firstlimit.Nofile[0], firstlimit.Nofile[1]
		}
		b := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, r.Cur), r.Max)
		l.Ask(seen.Asked{Nr: unix.SYS_PRLIMIT64, Args: [4]uintptr{0, uintptr(resource)}, Buffer: 4}, b)
	}
	return nil
}

func rememberStreams(l *seen.Log) error {
	for fd := range 3 {
		var st unix.Stat_t
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err = errors.Join(err, unix.Fstat(fd, &st)); err != nil {
			return fmt.Errorf("looking at descriptor %d: %w", fd, err)
		}
		l.Ask(seen.Asked{Nr: unix.SYS_FCNTL, Args: [4]uintptr{uintptr(fd), unix.F_GETFL}, Answer: int64(flags)}, nil)
		device := uint64(0)
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			device = uint64(st.Rdev)
		}
		l.Stream(fd, st.Mode&unix.S_IFMT, device)
	}
	return nil
}

// answer is what a system call returns in its register.
func answer(r int, err error) int64 {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return -int64(errno)
	}
	return int64(r)
}
