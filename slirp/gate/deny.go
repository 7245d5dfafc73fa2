package gate

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// maxDenied bounds how many destinations are counted apart; what is beyond it
// is one more, without a name.
const maxDenied = 1024

type denyKey struct {
	protocol string
	name     string
	address  netip.Addr // of what has no name
	port     uint16
}

// denials are the destinations that were denied, in the order of the first.
type denials struct {
	byKey map[denyKey]*slirp.Event
	order []denyKey
}

// add counts a denial and reports whether it is the first of its key.
func (d *denials) add(k denyKey, e slirp.Event) bool {
	if d.byKey == nil {
		d.byKey = map[denyKey]*slirp.Event{}
	}
	if len(d.order) >= maxDenied && d.byKey[k] == nil {
		k = denyKey{protocol: slirp.ProtocolMore}
		e = slirp.Event{Event: slirp.EventDenied, Time: e.Time, Protocol: slirp.ProtocolMore, Reason: "more destinations than are counted"}
	}
	if old := d.byKey[k]; old != nil {
		old.Count++
		return false
	}
	e.Count = 1
	d.byKey[k] = &e
	d.order = append(d.order, k)
	return true
}

// report tells of a connection's ruling.
func (g *Gate) report(c Conn, r Ruling) {
	e := slirp.Event{
		Event: slirp.EventAllowed, Time: time.Now(),
		Protocol: string(c.Protocol), Name: r.Name, Address: c.Target.Addr(), Port: c.Target.Port(),
		Rule: r.RuleText(), Reason: r.Reason,
	}
	if r.Rule != nil {
		e.From = r.Rule.From
	}
	if r.Allow {
		if !r.CheckTLS && !r.WatchTLS { // else it is not known yet
			g.opts.Report(e)
		}
		return
	}
	e.Event = slirp.EventDenied
	if r.Rule == nil && !r.Final {
		e.Add = policy.Suggest(c.Protocol, r.Name, c.Target.Addr(), r.Class, c.Target.Port())
	}
	k := denyKey{protocol: e.Protocol, name: e.Name, port: e.Port}
	if k.name == "" {
		k.address = e.Address
	}
	g.deny(k, e)
}

// reportName tells of a name that may not be asked for.
func (g *Gate) reportName(name, question string, v policy.Verdict) {
	e := slirp.Event{
		Event: slirp.EventDenied, Time: time.Now(),
		Protocol: "dns", Name: name, Question: question, Reason: v.Reason,
	}
	if v.Rule != nil {
		e.Rule, e.From = v.Rule.Text, v.Rule.From
	} else {
		e.Add = name
	}
	g.deny(denyKey{protocol: "dns", name: name}, e)
}

func (g *Gate) deny(k denyKey, e slirp.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	g.mu.Lock()
	e.First = g.denied.add(k, e)
	g.mu.Unlock()
	g.opts.Report(e)
}

// Denied are the destinations that were denied so far, each with its count, in
// the order in which they first were.
func (g *Gate) Denied() []slirp.Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]slirp.Event, 0, len(g.denied.order))
	for _, k := range g.denied.order {
		list = append(list, *g.denied.byKey[k])
	}
	return slices.Clip(list)
}
