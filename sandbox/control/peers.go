package control

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// PeersDir is what Peers reads. Who confines itself has to leave it readable, and
// nothing else of /proc.
const PeersDir = "/proc/self/fdinfo"

// Peers tells who comes from a sandbox, for a program whose confinement keeps it
// from looking at the namespaces of other processes: a sandbox has a PID namespace
// of its own, which the kernel shows of a descriptor of any process in it
// (pidfd_open(2); proc_pid_fdinfo(5), NSpid).
type Peers struct {
	dir int   // of PeersDir: Landlock's rule is about this very directory (landlock(7))
	err error // why nobody may
}

// OpenPeers is to be called before the program confines itself. Before Linux 5.14 a
// program whose memory others can't read is not told of its own descriptors: then
// nobody may.
func OpenPeers() *Peers {
	dir, err := unix.Open(PeersDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		err = &os.PathError{Op: "open", Path: PeersDir, Err: err}
	}
	return &Peers{dir, err}
}

// May refuses who is at the other end of a socket, if it is another user's, is in
// a sandbox, or has ended.
func (p *Peers) May(fd int) error {
	return admit(fd, func(_, pidfd int) error {
		info, err := p.info(pidfd)
		if err == nil && depth(info) != 1 {
			err = unix.EPERM
		}
		return err
	})
}

func (p *Peers) info(pidfd int) ([]byte, error) {
	if p.err != nil {
		return nil, p.err
	}
	fd, err := unix.Openat(p.dir, strconv.Itoa(pidfd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("asking who connects: %w", err)
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil {
		return nil, fmt.Errorf("asking who connects: %w", err)
	}
	return b[:n], nil
}

// depth is in how many PID namespaces a process is, from this one on; 0 if that is
// not said.
func depth(info []byte) int {
	for line := range bytes.Lines(info) {
		if numbers, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			return len(bytes.Fields(numbers))
		}
	}
	return 0
}
