package hub

import (
	"errors"
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
	f := &filter{socket: kept, device: r.Device, rules: r.Rules}
	if err := link.Order(kept, nft.BatchOf(f.device, f.about(members)), nft.Answers); err != nil {
		f.close()
		if errors.Is(err, unix.EMSGSIZE) {
			return nil, fmt.Errorf("%d rules about %d members are more than the kernel takes at once; write fewer, or raise net.core.wmem_max: %w", len(r.Rules), len(members), err)
		}
		return nil, fmt.Errorf("rules about members take nftables with connection tracking in the kernel: %w", err)
	}
	// A kernel without it refuses, and says nothing.
	_ = link.Order(kept, nft.TellOf(f.device), nft.Answers)
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
	return link.Order(f.socket, nft.ReplaceOf(f.device, f.about(members)), nft.Answers)
}

func (f *filter) about(members []slirp.Member) []nft.Rule {
	return nft.Members(f.device, f.rules, func(r policy.Rule) []netip.Prefix { return among(members, r) })
}

func (f *filter) close() {
	if f != nil {
		unix.Close(f.socket)
	}
}

// among is the addresses that a rule is about, of those who are there.
func among(members []slirp.Member, r policy.Rule) (list []netip.Prefix) {
	if r.Prefix.IsValid() {
		return []netip.Prefix{r.Prefix}
	}
	for _, m := range members {
		if r.Class != policy.Members && !slices.Contains(m.Names, r.Name) {
			continue
		}
		for _, a := range []netip.Addr{m.IPv4, m.IPv6} {
			if a.IsValid() {
				list = append(list, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	return list
}
