// Package hostaddr says which addresses are the host's own, by asking the kernel
// each time: interfaces come and go, and a host may answer to whole networks.
package hostaddr

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Table asks the routing tables of the network namespace in which it was made
// (rtnetlink(7), RTM_GETROUTE).
type Table struct {
	mu  sync.Mutex
	fd  int
	seq uint32
}

// New makes a Table.
func New() (*Table, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("making a netlink socket: %w", err)
	}
	// The kernel answers before sendto returns; should it not, nobody waits.
	limit := unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return &Table{fd: fd}, nil
}

// Close ends the Table.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	unix.Close(t.fd)
	t.fd = -1
}

// Local reports whether what is sent to an address stays on this host, or goes to
// all on a link. When the kernel can't be asked, it does.
func (t *Table) Local(a netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	kind, err := t.route(a)
	switch {
	case err == unix.ENETUNREACH, err == unix.EHOSTUNREACH, err == unix.EACCES:
		return false // there is no way to it at all
	case err != nil:
		return true
	}
	return kind != unix.RTN_UNICAST
}

// route asks for the kind of the route to an address, RTN_*.
func (t *Table) route(a netip.Addr) (byte, error) {
	t.seq++
	if err := unix.Sendto(t.fd, request(a, t.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("netlink: %w", err)
	}
	b := make([]byte, 4096)
	for {
		n, _, err := unix.Recvfrom(t.fd, b, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("netlink: %w", err)
		}
		kind, seq, err := answer(b[:n])
		if seq != t.seq { // of a question that was given up
			continue
		}
		return kind, err
	}
}

// Sizes of struct nlmsghdr, struct rtmsg and struct rtattr.
const (
	headerLen = 16
	routeLen  = 12
	attrLen   = 4
)

// request is an RTM_GETROUTE for one address.
func request(a netip.Addr, seq uint32) []byte {
	family := byte(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	to := a.AsSlice()
	e := binary.NativeEndian
	b := e.AppendUint32(nil, uint32(headerLen+routeLen+attrLen+len(to)))
	b = e.AppendUint16(b, unix.RTM_GETROUTE)
	b = e.AppendUint16(b, unix.NLM_F_REQUEST)
	b = e.AppendUint32(b, seq)
	b = e.AppendUint32(b, 0)                                              // the kernel chose our port
	b = append(b, family, byte(a.BitLen()), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // struct rtmsg
	b = e.AppendUint16(b, uint16(attrLen+len(to)))
	b = e.AppendUint16(b, unix.RTA_DST)
	return append(b, to...)
}

// answer reads what the kernel says: a route's kind, or an errno.
func answer(b []byte) (kind byte, seq uint32, err error) {
	if len(b) < headerLen+4 {
		return 0, 0, fmt.Errorf("netlink: %d bytes", len(b))
	}
	e := binary.NativeEndian
	seq = e.Uint32(b[8:])
	switch what := e.Uint16(b[4:]); {
	case what == unix.NLMSG_ERROR:
		return 0, seq, unix.Errno(-int32(e.Uint32(b[headerLen:])))
	case what == unix.RTM_NEWROUTE && len(b) >= headerLen+routeLen:
		return b[headerLen+7], seq, nil // rtm_type
	default:
		return 0, seq, fmt.Errorf("netlink: a message of type %d", what)
	}
}
