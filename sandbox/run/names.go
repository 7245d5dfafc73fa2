package run

import (
	"errors"
	"fmt"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
)

// startNames starts the sbx-net that answers for names, fills the packet filter's
// sets of their addresses, and says what was refused.
func (n *network) startNames() (err error) {
	if n.names, err = n.speak(n.plan.Names, slirp.ModeNames); err != nil {
		return err
	}
	p := n.names.program
	n.watched[watchNamesEnd].fd, n.watched[watchNamesEvents].fd, n.watched[watchNamesStderr].fd = p.PidFD, n.names.events, p.Stderr
	return nil
}

func (n *network) hearNames() error {
	more, err := n.names.hear(n.nameEvent)
	if !more {
		n.watched[watchNamesEvents].fd = -1
	}
	return err
}

// nameEvent is what names says.
func (n *network) nameEvent(e slirp.Event) error {
	switch e.Event {
	case slirp.EventReady:
		return nil // it has its orders; the sandbox's descriptors follow
	case slirp.EventAttached:
		n.named = true
		return n.goOn()
	}
	return n.event(e)
}

func (n *network) namesStderr() error {
	n.names.program.Take()
	n.watched[watchNamesStderr].fd = n.names.program.Stderr
	return nil
}

// namesOver is for when it has ended before the sandbox. No more names resolve,
// and nothing is allowed that was not before.
func (n *network) namesOver() error {
	if err := n.hearNames(); err != nil { // its last words
		return err
	}
	for i := watchNamesEnd; i <= watchNamesStderr; i++ {
		n.watched[i].fd = -1
	}
	failure := n.names.program.Failure()
	if n.failure != "" {
		failure = errors.New(n.failure)
	}
	if n.plan.Vital || !n.taken {
		return fmt.Errorf("the network can't be had: %w", failure)
	}
	n.tell(slirp.Event{Event: slirp.EventLimit, Time: time.Now(), Message: "names are not answered any more: " + failure.Error()}, n.raw())
	return nil
}
