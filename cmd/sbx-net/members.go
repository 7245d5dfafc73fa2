package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// maxMembers bounds a message with the members of a network, in bytes.
const maxMembers = 256 << 10

// hearMembers keeps the name server informed of who is in the sandbox's named
// networks. The holder of a network says so before it lets anybody go on, so who is
// asked for a member first takes what was said.
func (n *network) hearMembers() error {
	var all []*membership
	for i := range n.config.Networks {
		fd := slirp.FDMembers + i
		if err := unix.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("descriptor %d, the members of %s: %w", fd, n.config.Networks[i].Name, err)
		}
		f := os.NewFile(uintptr(fd), "members of "+n.config.Networks[i].Name)
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		m := &membership{raw: raw, set: func(list []slirp.Member) { n.names.SetMembers(i, list) }, buf: make([]byte, maxMembers)}
		all = append(all, m)
		go func() {
			defer f.Close()
			_ = raw.Read(m.take)
		}()
	}
	n.names.BeforeMembers(func() {
		for _, m := range all {
			_ = m.raw.Control(func(fd uintptr) { m.take(fd) })
		}
	})
	return nil
}

// membership is a socket on which the members of a network come.
type membership struct {
	raw syscall.RawConn
	set func([]slirp.Member)

	mu  sync.Mutex
	buf []byte
}

// take takes all that has come; it is true when nothing more will.
func (m *membership) take(fd uintptr) (over bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		size, _, err := unix.Recvfrom(int(fd), m.buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil || size == 0: // the network is gone, and nobody is in it
			m.set(nil)
			return true
		}
		var members slirp.Members
		if json.Unmarshal(m.buf[:size], &members) == nil {
			m.set(members.Members)
		}
	}
}

// refusedMember tells of what the rules about members do not allow.
func (n *network) refusedMember(to gate.Conn) {
	name := n.names.MemberAt(to.Target.Addr())
	for _, r := range n.config.Members {
		q := policy.Query{Protocol: to.Protocol, Address: to.Target.Addr(), Port: to.Target.Port(), Names: []string{name}, Class: policy.Members}
		if !r.Allow && r.About(q) {
			n.gate.RefusedMember(to, name, &r)
			return
		}
	}
	n.gate.RefusedMember(to, name, nil)
}
