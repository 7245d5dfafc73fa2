package userns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// HelperDirs are the only places the setuid helpers are looked for. The
// caller's PATH is not asked: whoever controls it would choose what runs with
// our map in hand.
var HelperDirs = []string{"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin"}

// FindHelper is the path of newuidmap or newgidmap. The file must belong to
// root and be writable by nobody else. The error says what to install.
func FindHelper(name string) (string, error) {
	var refused error
	for _, dir := range HelperDirs {
		path := dir + "/" + name
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			continue
		}
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0:
			refused = fmt.Errorf("%s is not an executable file", path)
		case st.Uid != 0 || st.Mode&0o022 != 0:
			refused = fmt.Errorf("%s must belong to root and be writable by root only", path)
		default:
			return path, nil
		}
	}
	if refused != nil {
		return "", refused
	}
	return "", fmt.Errorf("%s is not installed; an administrator can install it (package uidmap on Debian and Ubuntu, shadow-utils on Fedora)", name)
}

// Write maps the user namespace of process pid with the setuid helpers, both
// at once, since each is a whole program start of its own.
//
// Precondition: pid is a child of the caller that waits, so that its number
// can't be reused. The kernel takes each map once (user_namespaces(7)).
func Write(ctx context.Context, newuidmap, newgidmap string, pid int, uids, gids Map) error {
	var wg sync.WaitGroup
	var errs [2]error
	for i, c := range []struct {
		path string
		m    Map
	}{{newuidmap, uids}, {newgidmap, gids}} {
		wg.Go(func() { errs[i] = runHelper(ctx, c.path, pid, c.m) })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

func runHelper(ctx context.Context, path string, pid int, m Map) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, HelperArgs(strconv.Itoa(pid), m)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		err = fmt.Errorf("mapping %d ids by %s: %w", count(m), path, err)
		if said := strings.TrimSpace(stderr.String()); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return err
	}
	return nil
}

// HelperArgs are the arguments by which a helper maps the user namespace of a process:
// newuidmap(1), newgidmap(1).
func HelperArgs(pid string, m Map) []string {
	args := make([]string, 0, 1+3*len(m))
	args = append(args, pid)
	for _, e := range m {
		for _, v := range []uint32{e.Inside, e.Outside, e.Count} {
			args = append(args, strconv.FormatUint(uint64(v), 10))
		}
	}
	return args
}

func count(m Map) (n uint64) {
	for _, e := range m {
		n += uint64(e.Count)
	}
	return n
}

// Grants reads the subordinate ids of an account from path, which is
// /etc/subuid or /etc/subgid. A file that does not exist grants nothing.
func Grants(path, name string, uid uint32) ([]Range, error) {
	f, err := os.Open(path)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	g, err := ParseSubids(f, name, uid)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}
