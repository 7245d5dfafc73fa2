package run

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
)

// questions asks the person at the terminal about connections that no rule is
// about (network.on_deny), one after the other. What is typed meanwhile is an
// answer, and not the command's.
type questions struct {
	open  []slirp.Event // the first is being asked
	typed string
	keys  [2]int // a pipe, from the goroutine that reads the terminal; -1 for none
	at    time.Time
}

// settle is how long what is typed is still for what was there before a question:
// nobody answers one by accident.
const settle = 500 * time.Millisecond

// canAsk reports whether somebody is there to be asked.
func (n *network) canAsk() bool {
	return n.s.plan.Process.Terminal[0] && n.plan.Config.Policy.OnDeny == "ask"
}

// ask puts a question to the end of the list.
func (n *network) ask(e slirp.Event) error {
	t := n.s.term
	if t == nil || !t.in || !t.foreground() {
		return n.answer(e, slirp.Request{})
	}
	if n.questions.keys[1] < 0 {
		if err := unix.Pipe2(n.questions.keys[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			return n.answer(e, slirp.Request{})
		}
		n.watched[watchKeys].fd = n.questions.keys[0]
	}
	n.questions.open = append(n.questions.open, e)
	if len(n.questions.open) == 1 {
		n.put()
	}
	return nil
}

// put asks the first question.
func (n *network) put() {
	q := &n.questions
	q.typed, q.at = "", time.Now()
	n.s.term.diverted.Store(int32(q.keys[1]))
	n.tell(q.open[0], n.raw())
}

// hearKeys takes what is typed while a question is open.
func (n *network) hearKeys() error {
	var b [64]byte
	size, err := unix.Read(n.questions.keys[0], b[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil || size <= 0 {
		n.watched[watchKeys].fd = -1
		return nil
	}
	for _, c := range b[:size] {
		if len(n.questions.open) == 0 || time.Since(n.questions.at) < settle {
			continue
		}
		if err := n.key(c); err != nil {
			return err
		}
	}
	return nil
}

// key takes one character of an answer, which is a line.
func (n *network) key(c byte) error {
	q := &n.questions
	echo := func(s string) { writeAll(n.s.term.host, []byte(s)) }
	switch {
	case c == 3 || c == 27: // ^C, Escape
		q.typed = "d"
	case c == 127 || c == 8:
		if q.typed != "" {
			q.typed = q.typed[:len(q.typed)-1]
			echo("\b \b")
		}
		return nil
	case c != '\r' && c != '\n':
		if c > ' ' && c < 127 && len(q.typed) < 8 {
			q.typed += string(c)
			echo(string(c))
		}
		return nil
	}
	echo("\r\n")
	var r slirp.Request
	switch strings.ToLower(q.typed) {
	case "o", "once":
		r.Allow, r.Once = true, true
	case "r", "run":
		r.Allow = true
	case "d", "deny":
	default:
		n.put()
		return nil
	}
	e := q.open[0]
	n.next()
	return n.answer(e, r)
}

// next goes on to the next question, if there is one.
func (n *network) next() {
	n.questions.open = n.questions.open[1:]
	if len(n.questions.open) > 0 {
		n.put()
		return
	}
	n.s.term.diverted.Store(-1)
}

// late takes back the question about what was denied, since nobody answered.
func (n *network) late(e slirp.Event) {
	for i, q := range n.questions.open {
		if q.Protocol != e.Protocol || q.Name != e.Name || q.Address != e.Address || q.Port != e.Port {
			continue
		}
		if i == 0 {
			writeAll(n.s.term.host, []byte("\r\n"))
			n.next()
		} else {
			n.questions.open = append(n.questions.open[:i:i], n.questions.open[i+1:]...)
		}
		return
	}
}

// answer tells sbx-net.
func (n *network) answer(e slirp.Event, r slirp.Request) error {
	r.Op, r.ID = slirp.OpAnswer, e.ID
	return n.engine.order(r) // what does not arrive is denied
}

// close ends asking. What is typed is the command's again.
func (q *questions) close(t *terminal) {
	if q.keys[1] < 0 {
		return
	}
	if t != nil {
		t.diverted.Store(-1)
	}
	unix.Close(q.keys[0]) // the other end stays with who may just write to it
	q.keys[0] = -1
}
