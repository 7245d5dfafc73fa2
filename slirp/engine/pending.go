package engine

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// pending are the connections that are being made from the host. There is a limit
// to them, and peers that don't answer hold theirs for long: so whoever comes
// when there are as many as there may be takes the place of one, the oldest of
// those to whom there are most.
type pending struct {
	limit int
	// full is told when somebody has to give up.
	full func()

	mu    sync.Mutex
	list  []*attempt // the oldest first
	count map[netip.AddrPort]int
}

// attempt is one of them.
type attempt struct {
	to     netip.AddrPort
	cancel context.CancelFunc
}

func newPending(limit int, full func()) *pending {
	return &pending{limit: limit, full: full, count: map[netip.AddrPort]int{}}
}

// begin makes room for an attempt, for as long as the context lives. done is to
// be called at its end.
func (p *pending) begin(ctx context.Context, to netip.AddrPort) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	a := &attempt{to, cancel}
	p.mu.Lock()
	crowded := len(p.list) >= p.limit
	if crowded {
		p.remove(p.weakest()).cancel()
	}
	p.list = append(p.list, a)
	p.count[to]++
	p.mu.Unlock()
	if crowded {
		p.full()
	}
	return ctx, func() {
		p.mu.Lock()
		if i := slices.Index(p.list, a); i >= 0 { // it may have had to go
			p.remove(i)
		}
		p.mu.Unlock()
		cancel()
	}
}

// weakest is who has to go. Precondition: p.mu is held, and there is one.
func (p *pending) weakest() int {
	most := 0
	for _, n := range p.count {
		most = max(most, n)
	}
	return slices.IndexFunc(p.list, func(a *attempt) bool { return p.count[a.to] == most })
}

// remove takes one out. Precondition: p.mu is held.
func (p *pending) remove(i int) *attempt {
	a := p.list[i]
	p.list = slices.Delete(p.list, i, i+1)
	if p.count[a.to]--; p.count[a.to] == 0 {
		delete(p.count, a.to)
	}
	return a
}
