package gate

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// maxAsks bounds the questions that are open at once; what is beyond is denied.
const maxAsks = 64

// askKey is what one question is about: connections to one port of one target
// share it, and so do their repetitions.
type askKey struct {
	protocol policy.Protocol // "" for a name
	name     string
	target   netip.AddrPort
}

// ask is an open question.
type ask struct {
	id       int64
	add      string        // the rule that a yes adds
	done     chan struct{} // closed when it is over
	answered bool          // and not merely over; under the gate's lock
}

// wait asks about a connection.
func (g *Gate) wait(ctx context.Context, c Conn, r Ruling) Ruling {
	add := policy.Suggest(c.Protocol, r.Name, c.Target.Addr(), r.Class, c.Target.Port())
	e := slirp.Event{
		Protocol: string(c.Protocol), Name: r.Name, Address: c.Target.Addr(), Port: c.Target.Port(), Reason: r.Reason, Add: add,
	}
	answered := g.question(ctx, askKey{c.Protocol, r.Name, c.Target}, e)
	again := g.Look(c)
	again.Waits = false
	if !again.Allow && !answered {
		again.Reason += "; nobody answered in time"
	}
	return again
}

// waitName asks about a name. A yes allows all connections to it.
func (g *Gate) waitName(ctx context.Context, name string, v policy.Verdict) policy.Verdict {
	if _, err := policy.ParseName(name); err != nil {
		return v // no rule could be for it
	}
	answered := g.question(ctx, askKey{name: name}, slirp.Event{Protocol: "dns", Name: name, Reason: v.Reason, Add: name})
	g.mu.Lock()
	v = g.policy.Resolves(name)
	if g.onceName(name) {
		v = policy.Verdict{Allow: true, Name: name}
	}
	g.mu.Unlock()
	if !v.Allow && !answered {
		v.Reason += "; nobody answered in time"
	}
	return v
}

// question asks, unless it is asked already, and returns after the answer
// (true) or when time is up.
func (g *Gate) question(ctx context.Context, k askKey, e slirp.Event) bool {
	g.mu.Lock()
	q := g.asks[k]
	if q == nil {
		if len(g.asks) >= maxAsks {
			g.mu.Unlock()
			return false
		}
		g.lastID++
		q = &ask{id: g.lastID, add: e.Add, done: make(chan struct{})}
		g.asks[k] = q
		time.AfterFunc(g.opts.Hold, func() { g.over(k, q) })
		e.Event, e.ID, e.Time = slirp.EventAsk, q.id, time.Now()
		g.mu.Unlock()
		g.opts.Report(e)
	} else {
		g.mu.Unlock()
	}
	select {
	case <-q.done:
		g.mu.Lock()
		defer g.mu.Unlock()
		return q.answered
	case <-ctx.Done():
		return false
	}
}

// over ends a question to which nobody knew an answer.
func (g *Gate) over(k askKey, q *ask) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asks[k] == q {
		delete(g.asks, k)
		close(q.done)
	}
}

// onceTime is how long what is allowed once may begin: a name is looked up and
// then connected to, by both versions of IP.
const onceTime = 10 * time.Second

// Answer decides an open question: a rule for it is added, before all others.
func (g *Gate) Answer(id int64, allow bool) error {
	q, _, err := g.answered(id)
	if err != nil {
		return err
	}
	err = g.Add(q.add, allow, 0)
	g.decided(q)
	return err
}

// AnswerOnce allows what an open question is about, without a rule: that
// connection, or those to that name which begin soon.
func (g *Gate) AnswerOnce(id int64) error {
	q, k, err := g.answered(id)
	if err != nil {
		return err
	}
	g.mu.Lock()
	until := time.Now().Add(onceTime)
	for old, t := range g.once {
		if time.Now().After(t) {
			delete(g.once, old)
		}
	}
	g.once[k] = until
	g.mu.Unlock()
	g.decided(q)
	return nil
}

// answered takes a question out of those that are open.
func (g *Gate) answered(id int64) (*ask, askKey, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, q := range g.asks {
		if q.id == id {
			delete(g.asks, k)
			return q, k, nil
		}
	}
	return nil, askKey{}, fmt.Errorf("question %d is not open: it was answered, or its time is over", id)
}

// decided lets those go on who wait for an answer.
func (g *Gate) decided(q *ask) {
	g.mu.Lock()
	q.answered = true
	g.mu.Unlock()
	close(q.done)
}

// onceFor reports whether a connection was allowed once, or a name that led to it.
// Precondition: g.mu is held.
func (g *Gate) onceFor(c Conn, class policy.Class, names []string) bool {
	now := time.Now()
	for k, until := range g.once {
		if now.After(until) {
			continue
		}
		if k.target == c.Target && k.protocol == c.Protocol || k.protocol == "" && class == policy.Internet && slices.Contains(names, k.name) {
			return true
		}
	}
	return false
}

// onceName reports whether a name was. Precondition: g.mu is held.
func (g *Gate) onceName(name string) bool { return time.Now().Before(g.once[askKey{name: name}]) }
