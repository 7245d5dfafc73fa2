package hub

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/link"
	"github.com/sbx-sandbox/sbx/slirp/nft"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// filter holds a member to its rules of whom it may talk to: by nftables in the
// member's network namespace, over which who is in it has no rights. It is the
// network's to fill, since it knows who has which address at any time. A nil one
// holds nobody to anything.
type filter struct {
	socket int // of NETLINK_NETFILTER
	device string
	rules  []policy.Rule
}

// newFilter puts the rules in place. The socket stays the caller's.
func newFilter(socket int, r *slirp.NetworkRequest, members []slirp.Member) (*filter, error) {
	kept, err := keep(socket)
	if err != nil {
		return nil, fmt.Errorf("keeping the socket for rules: %w", err)
	}
	f := &filter{socket: kept, rules: r.Rules, device: r.Device}
	// With nobody in its sets it lets nothing pass but answers.
	if err := link.Order(kept, nft.BatchOf(f.device, nft.Members(f.device, f.rules)), nft.Answers); err != nil {
		f.close()
		return nil, fmt.Errorf("rules about members take nftables with connection tracking in the kernel: %w", err)
	}
	// A kernel without it refuses, and says nothing.
	_ = link.Order(kept, nft.TellOf(f.device), nft.Answers)
	if err := f.renew(members); err != nil {
		f.close()
		return nil, fmt.Errorf("holding a member to its rules about %d others: %w", len(members), err)
	}
	return f, nil
}

// keep is a socket of the hub's own. What goes by it in one piece grows with the
// members, and the kernel takes no more than the socket's buffer holds.
func keep(socket int) (int, error) {
	const room = 4 << 20 // bytes; net.core.wmem_max bounds it
	kept, err := unix.FcntlInt(uintptr(socket), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		_ = unix.SetsockoptInt(kept, unix.SOL_SOCKET, unix.SO_SNDBUF, room) // or what it was
	}
	return kept, err
}

// renew has the rules be about who is there now.
func (f *filter) renew(members []slirp.Member) error {
	if f == nil {
		return nil
	}
	sets := setsOf(f.rules, members)
	if len(sets) == 0 {
		return nil
	}
	return link.Order(f.socket, nft.FillOf(f.device, sets), nft.Answers)
}

func (f *filter) close() {
	if f != nil {
		unix.Close(f.socket)
	}
}

// setsOf are those whom rules are about by a name, or by being there, each once.
func setsOf(rules []policy.Rule, members []slirp.Member) (list []nft.Set) {
	for _, r := range rules {
		name := nft.MemberSet(r)
		if name == "" || slices.ContainsFunc(list, func(s nft.Set) bool { return s.Names == name }) {
			continue
		}
		list = append(list, nft.Set{Names: name, Addresses: among(members, r)})
	}
	return list
}

// among is the addresses of those whom a rule is about.
func among(members []slirp.Member, r policy.Rule) (list []netip.Addr) {
	for _, m := range members {
		if r.Class != policy.Members && !slices.Contains(m.Names, r.Name) {
			continue
		}
		list = append(list, addresses(&m)...)
	}
	return list
}
