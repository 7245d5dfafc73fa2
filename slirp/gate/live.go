package gate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// maxLive bounds the rules that are added while a sandbox runs.
const maxLive = 1000

// liveRule is a rule that was added while the sandbox ran.
type liveRule struct {
	policy.Rule
	expires time.Time // zero: never
}

// Add puts a rule before all others, for a time or, with 0, until the sandbox
// ends. A live rule with the same text is replaced.
func (g *Gate) Add(text string, allow bool, d time.Duration) error {
	r, err := policy.Parse(text)
	if err != nil {
		return err
	}
	if d < 0 {
		return fmt.Errorf("rule %q: a time of %s is over already", text, d)
	}
	if g.opts.Networked && r.Member() {
		return fmt.Errorf("rule %q is about members of a named network, for which rules are set when the sandbox starts: write it into the profile", text)
	}
	r.Allow, r.From = allow, "added while the sandbox ran"
	one := policy.Policy{Rules: []policy.Rule{r}, TLSNames: g.opts.Policy.TLSNames}
	if err := one.Validate(); err != nil {
		return err
	}
	l := liveRule{Rule: r}
	if d > 0 {
		l.expires = time.Now().Add(d)
	}
	g.mu.Lock()
	live := slices.DeleteFunc(slices.Clone(g.live), func(l liveRule) bool { return l.Text == text })
	if len(live) >= maxLive {
		g.mu.Unlock()
		return fmt.Errorf("%d rules were added already; take some away", maxLive)
	}
	g.setLive(append([]liveRule{l}, live...))
	g.mu.Unlock()
	g.opts.Changed()
	return nil
}

// Remove takes a live rule away.
func (g *Gate) Remove(text string) error {
	g.mu.Lock()
	live := slices.DeleteFunc(slices.Clone(g.live), func(l liveRule) bool { return l.Text == text })
	if len(live) == len(g.live) {
		g.mu.Unlock()
		if slices.ContainsFunc(g.opts.Policy.Rules, func(r policy.Rule) bool { return r.Text == text }) {
			return fmt.Errorf("rule %q is the profile's; add one that says the opposite, which goes before it", text)
		}
		return errors.New("there is no rule " + text)
	}
	g.setLive(live)
	g.mu.Unlock()
	g.opts.Changed()
	return nil
}

// Rules are those in effect, in their order.
func (g *Gate) Rules() []slirp.LiveRule {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []slirp.LiveRule
	for _, l := range g.live {
		list = append(list, slirp.LiveRule{Rule: l.Rule, Live: true, Expires: l.expires})
	}
	for _, r := range slices.Concat(g.opts.Policy.Rules, g.opts.Members) {
		list = append(list, slirp.LiveRule{Rule: r})
	}
	return list
}

// setLive makes the policy anew and has it made again when the next rule
// expires. Precondition: g.mu is held.
func (g *Gate) setLive(live []liveRule) {
	g.live = live
	p := g.opts.Policy
	p.Rules = nil
	var next time.Time
	for _, l := range live {
		p.Rules = append(p.Rules, l.Rule)
		if !l.expires.IsZero() && (next.IsZero() || l.expires.Before(next)) {
			next = l.expires
		}
	}
	p.Rules = append(p.Rules, g.opts.Policy.Rules...)
	g.policy = p
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if !next.IsZero() {
		g.timer = time.AfterFunc(time.Until(next), g.expire)
	}
}

// expire takes away what is over.
func (g *Gate) expire() {
	now := time.Now()
	g.mu.Lock()
	g.setLive(slices.DeleteFunc(slices.Clone(g.live), func(l liveRule) bool { return !l.expires.IsZero() && !l.expires.After(now) }))
	g.mu.Unlock()
	g.opts.Changed()
}
