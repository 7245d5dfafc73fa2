// Package confine lets a process that talks to untrusted code give up what it
// does not need: files, all but some system calls, being read by others.
package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/landlock"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// Limits are what is left after Process.
type Limits struct {
	// Read are directories whose files may still be opened for reading.
	Read []string
	// Remove are directories of which files may be removed.
	Remove []string
	// Calls are the system calls that are left; the others fail with EPERM.
	Calls []policy.Rule
}

// Hidden makes the process's memory and descriptors unreadable to others of the
// same user (prctl(2), PR_SET_DUMPABLE; ptrace(2), "Ptrace access mode checking").
func Hidden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	return nil
}

// Process confines all threads of this process, for good. What the kernel does
// not have is in lost, as sentences; an error means the process is not confined
// as it could be, and should end.
//
// Precondition: no cgo, which syscall.AllThreadsSyscall needs.
func Process(l Limits) (lost []string, err error) {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno == syscall.ENOTSUP {
		return nil, errors.New("this program was built with cgo; build it with CGO_ENABLED=0")
	} else if errno != 0 {
		return nil, fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", errno)
	}
	why, err := restrictFiles(l)
	if err != nil {
		return nil, err
	}
	if why != "" {
		lost = append(lost, why)
	}
	if why, err = filterCalls(l.Calls); err != nil {
		return lost, err
	}
	if why != "" {
		lost = append(lost, why)
	}
	return lost, nil
}

// rulesetAttr is struct landlock_ruleset_attr as far as its first version.
type rulesetAttr struct{ handledFS uint64 }

// pathBeneath is struct landlock_path_beneath_attr, which is packed; what
// follows its 12 bytes is not read.
type pathBeneath struct {
	allowed uint64
	parent  int32
}

// restrictFiles has Landlock refuse every file but those to be read. Sockets are
// not its business.
func restrictFiles(l Limits) (lost string, err error) {
	abi, _, errno := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return "the kernel has no Landlock: the files of its user are not out of its reach", nil
	}
	if errno != 0 {
		return "", fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	attr := rulesetAttr{handledFS: uint64(landlock.Files(int(abi)))}
	set, _, errno := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return "", fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	defer unix.Close(int(set))
	for _, dir := range l.Read {
		if err := allowFiles(int(set), dir, landlock.ReadFile); err != nil {
			return "", err
		}
	}
	for _, dir := range l.Remove {
		if err := allowFiles(int(set), dir, landlock.RemoveFile); err != nil {
			return "", err
		}
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return "", fmt.Errorf("landlock_restrict_self: %w", errno)
	}
	return "", nil
}

// allowFiles leaves a right to the files of a directory, if there is one.
func allowFiles(set int, dir string, access landlock.Access) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	rule := pathBeneath{allowed: uint64(access), parent: int32(fd)}
	if _, _, errno := syscall.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return &os.PathError{Op: "landlock_add_rule", Path: dir, Err: errno}
	}
	return nil
}

// filterCalls installs a filter on all threads (seccomp(2),
// SECCOMP_FILTER_FLAG_TSYNC).
func filterCalls(calls []policy.Rule) (lost string, err error) {
	arch, err := policy.ArchOf(runtime.GOARCH)
	if err != nil {
		return err.Error() + ": no system call is out of its reach", nil
	}
	code, err := compile.Raw(policy.Policy{
		Name: "sbx-net", Arches: []policy.Arch{arch},
		Default: policy.Errno(unix.EPERM), Unknown: policy.Errno(unix.ENOSYS), Foreign: policy.Kill, X32: policy.Kill,
		Rules: calls,
	})
	if err != nil {
		return "", err
	}
	filter := make([]unix.SockFilter, len(code))
	for i, c := range code {
		filter[i] = unix.SockFilter{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	switch {
	case errno == unix.ENOSYS || errno == unix.EINVAL:
		return "the kernel has no system call filter", nil
	case errno != 0:
		return "", fmt.Errorf("seccomp: %w", errno)
	case thread != 0:
		return "", fmt.Errorf("seccomp: thread %d could not be filtered", thread)
	}
	return "", nil
}

// Directories are those that a path leads through: its own and those of the
// links in it, so that the path can be opened after they were named in
// Limits.Read, also when its last part is replaced.
func Directories(path string) []string {
	var list []string
	for range 10 { // links
		list = append(list, filepath.Dir(path))
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = filepath.Clean(to)
	}
	return list
}
