package engine

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/gate"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// flow is a connection, or what of UDP looks like one.
type flow struct {
	conn    gate.Conn
	source  netip.AddrPort
	rule    string
	inbound bool // by a published port
	own     bool // to the name server here
	once    bool // allowed without a rule
	since   time.Time
	out, in atomic.Int64 // bytes

	mu     sync.Mutex
	name   string
	stop   func() // ends it; nil: it is not yet made
	closed bool
	held   int64 // of the budget
	from   *budget

	// What Flows said the last time, for rates.
	seen            time.Time
	seenOut, seenIn int64
	outRate, inRate int64
}

// closer sets how the flow is ended. If it was to end already, it does now.
func (f *flow) closer(stop func()) {
	f.mu.Lock()
	f.stop = stop
	closed := f.closed
	f.mu.Unlock()
	if closed {
		stop()
	}
}

// close ends the flow.
func (f *flow) close() {
	f.mu.Lock()
	f.closed = true
	stop := f.stop
	f.mu.Unlock()
	if stop != nil {
		stop()
	}
}

func (f *flow) setName(name string) {
	f.mu.Lock()
	f.name = name
	f.mu.Unlock()
}

// reserve takes the flow's share of a budget, which remove gives back.
func (f *flow) reserve(b *budget) int64 {
	size := b.take()
	f.mu.Lock()
	f.held, f.from = size, b
	f.mu.Unlock()
	return size
}

// release gives the share back.
func (f *flow) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.from != nil {
		f.from.give(f.held)
		f.from = nil
	}
}

// flows are all that there are.
type flows struct {
	mu    sync.Mutex
	set   map[*flow]struct{}
	count map[policy.Protocol]int
}

func newFlows() *flows {
	return &flows{set: map[*flow]struct{}{}, count: map[policy.Protocol]int{}}
}

// add is false if there are as many of the protocol as there may be.
func (s *flows) add(f *flow, limit int, p policy.Protocol) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[p] >= limit {
		return false
	}
	f.since = time.Now()
	f.seen = f.since
	s.count[p]++
	s.set[f] = struct{}{}
	return true
}

func (s *flows) remove(f *flow) {
	s.mu.Lock()
	if _, ok := s.set[f]; ok {
		delete(s.set, f)
		s.count[f.conn.Protocol]--
	}
	s.mu.Unlock()
	f.release()
}

func (s *flows) all() []*flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*flow, 0, len(s.set))
	for f := range s.set {
		list = append(list, f)
	}
	return list
}

func (s *flows) closeAll() {
	for _, f := range s.all() {
		f.close()
	}
}

// list describes the flows, the oldest first.
func (s *flows) list() []slirp.Flow {
	now := time.Now()
	var list []slirp.Flow
	for _, f := range s.all() {
		if !f.own {
			list = append(list, f.describe(now))
		}
	}
	slices.SortFunc(list, func(a, b slirp.Flow) int { return a.Since.Compare(b.Since) })
	return list
}

// describe is the flow as it is, with its rates since it was last described.
func (f *flow) describe(now time.Time) slirp.Flow {
	out, in := f.out.Load(), f.in.Load()
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := now.Sub(f.seen).Seconds(); d >= 0.2 {
		f.outRate, f.inRate = int64(float64(out-f.seenOut)/d), int64(float64(in-f.seenIn)/d)
		f.seen, f.seenOut, f.seenIn = now, out, in
	}
	return slirp.Flow{
		Protocol: string(f.conn.Protocol), Source: f.source, Target: f.conn.Target, Name: f.name, Rule: f.rule,
		Since: f.since, Out: out, In: in, OutRate: f.outRate, InRate: f.inRate, Inbound: f.inbound,
	}
}

// minBuffer is what a connection gets however many there are, bytes.
const minBuffer = 16 << 10

// budget is memory that connections share: each takes a part of what is left, so
// that few get much and many get little.
type budget struct {
	mu   sync.Mutex
	left int64
}

func newBudget(n int64) *budget { return &budget{left: n} }

// take returns the size of a connection's buffers in each direction.
func (b *budget) take() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := min(max(b.left/32, minBuffer), bufferSize)
	b.left -= 2 * size
	return size
}

func (b *budget) give(size int64) {
	b.mu.Lock()
	b.left += 2 * size
	b.mu.Unlock()
}

// bucket limits a rate: it holds as many tokens as pass in a tenth of a second.
type bucket struct {
	rate int64 // bytes a second

	mu     sync.Mutex
	tokens int64
	filled time.Time
}

func newBucket(rate int64) *bucket {
	if rate <= 0 {
		return nil
	}
	return &bucket{rate: rate, filled: time.Now()}
}

// take pays for n bytes that went already, and waits until they are paid for. It
// is false if done came first.
func (b *bucket) take(n int64, done <-chan struct{}) bool {
	d := b.pay(n)
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
		return false
	}
}

// pay takes tokens, and says how long it will be until there are none owed.
func (b *bucket) pay(n int64) time.Duration {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(b.tokens+int64(now.Sub(b.filled).Seconds()*float64(b.rate)), b.rate/10)
	b.filled = now
	b.tokens -= n
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(float64(-b.tokens) / float64(b.rate) * float64(time.Second))
}
