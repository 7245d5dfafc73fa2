package run

import (
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// word is what lets the child go on at a place of its program. Each is the same
// byte, on the socket that brought the first (SlotGo), so that they must come in
// the program's order, whichever is ready first.
type word int

const (
	wordNetwork word = iota // the network is there, or whoever makes it has what it takes
	wordGroup               // PID 1 is in its control group
	numWords
)

// words are those that a program waits for, in its order.
func words(p *sandbox.Plan) (list []word) {
	own := p.Network == sandbox.NetUser
	engine := p.Net.Backend == sandbox.BackendEngine
	if own && !engine {
		list = append(list, wordNetwork)
	}
	if p.Cgroup.On() {
		list = append(list, wordGroup)
	}
	if own && engine {
		list = append(list, wordNetwork)
	}
	return list
}

// say gives the child a word, as soon as those before it were given.
func (s *sandboxed) say(w word) error {
	s.known[w] = true
	for len(s.words) > 0 && s.known[s.words[0]] {
		s.words = s.words[1:]
		if _, err := unix.Write(s.ends.program, []byte{1}); err != nil {
			return err
		}
	}
	return nil
}
