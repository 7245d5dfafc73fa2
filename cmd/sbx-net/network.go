package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/confine"
	"github.com/sbx-sandbox/sbx/slirp/hub"
	"github.com/sbx-sandbox/sbx/slirp/link"
)

// keepNetwork keeps a named network from start to end.
func keepNetwork(in io.Reader, errs io.Writer) int {
	events := newEvents(os.NewFile(slirp.FDEvents, "event pipe"))
	oneProcessor()
	h, err := startNetwork(in, events)
	if err == nil {
		events.send(slirp.Event{Event: slirp.EventReady})
	} else {
		events.send(slirp.Event{Event: slirp.EventError, Message: err.Error()})
	}
	events.close()
	if err == nil {
		err = h.Serve()
	}
	if err != nil {
		fmt.Fprintln(errs, "sbx-net:", err)
		return 1
	}
	return 0
}

func startNetwork(in io.Reader, events *events) (*hub.Hub, error) {
	var n slirp.Network
	d := json.NewDecoder(io.LimitReader(in, maxConfig))
	d.DisallowUnknownFields()
	if err := d.Decode(&n); err != nil {
		return nil, fmt.Errorf("reading what the network is to be: %w", err)
	}
	if err := n.Validate(); err != nil {
		return nil, err
	}
	links, filters, err := ownNamespace()
	if err != nil {
		return nil, err
	}
	if err := confine.Hidden(); err != nil { // after that it can't start itself any more
		return nil, err
	}
	h, err := hub.New(n, links, filters, slirp.FDListen)
	if err != nil {
		return nil, err
	}
	err = confineTo(confine.Limits{Calls: networkCalls(), Read: []string{control.PeersDir}, Remove: []string{filepath.Dir(n.Socket)}}, events)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// ownNamespace makes a network namespace that this process is not in: of it there
// are an rtnetlink socket and one for nftables, and its user namespace is this user's.
// Whoever made it is gone.
func ownNamespace() (links *link.Socket, filters int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "namespace"), os.NewFile(uintptr(pair[1]), "namespace")
	defer ours.Close()
	uid, gid := os.Getuid(), os.Getgid()
	cmd := exec.Command("/proc/self/exe", "namespace")
	cmd.Env, cmd.ExtraFiles = []string{}, []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	theirs.Close()
	if err != nil {
		return nil, -1, fmt.Errorf("making the network's namespace: %w %s", err, out)
	}
	fds, err := receive(ours, 2)
	if err != nil {
		return nil, -1, fmt.Errorf("making the network's namespace: %w", err)
	}
	return link.New(fds[0]), fds[1], nil
}

// namespace is what ownNamespace starts: it is in the namespace, and hands out
// sockets of it.
func namespace(errs io.Writer) int {
	s, err := link.Open()
	if err == nil {
		filters, ferr := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if ferr != nil {
			filters = 0 // standard input, which takes no orders: the kernel has no nftables
		}
		err = unix.Sendmsg(3, []byte{0}, unix.UnixRights(s.FD(), filters), nil, 0)
	}
	if err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	return 0
}

// networkCalls are the system calls of a program that has sockets and a lock, and
// removes one file.
func networkCalls() []policy.Rule {
	return append(runtimeCalls(),
		allow("sockets", "accept4", "getsockopt", "setsockopt", "recvfrom", "recvmsg", "sendto", "sendmsg", "ioctl", "fcntl"),
		allow("waiting for members", "poll", "ppoll"),
		openRead("who asks"),
		allow("who asks", "fstat", "newfstatat", "pidfd_open"),
		allow("the end", "flock", "unlinkat"),
	)
}
