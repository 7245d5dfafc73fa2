package hub

import (
	"fmt"
	"net/netip"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/link"
	"github.com/sbx-sandbox/sbx/slirp/nft"
)

// sources holds members to their own addresses, in what they send, by nftables on the
// bridge. The kernel itself does so for IPv4; a kernel without nftables for bridges
// leaves it at that.
type sources struct {
	socket int // of NETLINK_NETFILTER
	held   bool
}

func newSources(socket int) sources {
	return sources{socket, link.Order(socket, nft.Sources(), nft.Answers) == nil}
}

// allow lets a member send, by its port on the bridge.
func (s sources) allow(port int, m *slirp.Member) error {
	if !s.held {
		return nil
	}
	if err := link.Order(s.socket, nft.AddSource(port, addresses(m)...), nft.Answers); err != nil {
		return fmt.Errorf("holding a member to its addresses: %w", err)
	}
	return nil
}

// forget is for a port that is gone, whose number another may get.
func (s sources) forget(port int, m *slirp.Member) {
	if s.held {
		_ = link.Order(s.socket, nft.DropSource(port, addresses(m)...), nft.Answers) // it is of no use to anybody else's port
	}
}

// addresses are those that a member has.
func addresses(m *slirp.Member) (list []netip.Addr) {
	for _, a := range []netip.Addr{m.IPv4, m.IPv6} {
		if a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}
