package dns

import (
	"net/netip"
	"slices"

	"github.com/sbx-sandbox/sbx/slirp"
)

// SetMembers says who is in the named network with a number, an index of the
// Config's Networks. They are found by their names, whatever the rules say: what
// goes to them does not go by the rules' way. It may be called at any time.
func (s *Server) SetMembers(network int, list []slirp.Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.members) <= network {
		s.members = append(s.members, nil)
	}
	s.members[network] = list
}

// BeforeMembers has f called before a member's name is looked for. It is to be called
// before the server is in service.
func (s *Server) BeforeMembers(f func()) { s.before = f }

// member is where those are that are called by a name: in the first network in which
// there is one.
func (s *Server) member(name string) (list []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, members := range s.members {
		for _, m := range members {
			if !slices.Contains(m.Names, name) {
				continue
			}
			for _, a := range []netip.Addr{m.IPv4, m.IPv6} {
				if a.IsValid() {
					list = append(list, a)
				}
			}
		}
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

// MemberAt is the first name of who has an address, "" for nobody.
func (s *Server) MemberAt(a netip.Addr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, members := range s.members {
		for _, m := range members {
			if (m.IPv4 == a || m.IPv6 == a) && len(m.Names) > 0 {
				return m.Names[0]
			}
		}
	}
	return ""
}
