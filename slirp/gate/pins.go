package gate

import (
	"net/netip"
	"slices"
)

// Bounds of pins. A sandbox that resolves more names than that loses the
// oldest, and has to ask again before it connects.
const (
	maxPins  = 16384
	maxNames = 32 // of one address: names on a content network share theirs
)

// pins are the names of addresses, as the sandbox resolved them. They stay until
// the sandbox ends, however short their time to live was: programs keep
// addresses longer than they should.
type pins struct {
	byAddr map[netip.Addr][]string
	order  []netip.Addr // oldest first
}

func (p *pins) names(a netip.Addr) []string { return p.byAddr[a] }

func (p *pins) add(a netip.Addr, name string) {
	if p.byAddr == nil {
		p.byAddr = map[netip.Addr][]string{}
	}
	list, known := p.byAddr[a]
	if slices.Contains(list, name) {
		return
	}
	if !known {
		if len(p.order) >= maxPins {
			delete(p.byAddr, p.order[0])
			p.order = p.order[1:]
		}
		p.order = append(p.order, a)
	}
	if len(list) >= maxNames {
		list = list[1:]
	}
	// A copy: who got the list before goes on reading it.
	p.byAddr[a] = append(slices.Clip(slices.Clone(list)), name)
}
