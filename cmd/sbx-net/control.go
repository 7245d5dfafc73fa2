package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/slirp"
)

// controls answers Requests about a running network.
type controls struct {
	listener *net.UnixListener
	peers    *control.Peers
	network  *network
	slots    chan struct{}
}

// Bounds of the control socket.
const (
	maxControls = 16
	maxRequest  = 64 << 10
)

func newControl(f *os.File, n *network) (*controls, error) {
	l, err := unixListener(f)
	if err != nil {
		return nil, err
	}
	return &controls{listener: l, peers: control.OpenPeers(), network: n, slots: make(chan struct{}, maxControls)}, nil
}

func (c *controls) close() { c.listener.Close() }

func (c *controls) serve() {
	for {
		conn, err := c.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		select {
		case c.slots <- struct{}{}:
			go func() {
				defer func() { <-c.slots }()
				defer conn.Close()
				c.talk(conn)
			}()
		default:
			conn.Close()
		}
	}
}

// talk answers one caller, who must be the user that the sandbox belongs to, and in
// no sandbox.
func (c *controls) talk(conn *net.UnixConn) {
	if c.samePeer(conn) != nil {
		return // who may not is told nothing
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 0, 4096), maxRequest)
	for lines.Scan() {
		var r slirp.Request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			reply(conn, slirp.Response{Error: "not a request: " + err.Error()})
			return
		}
		if r.Op == slirp.OpLog && r.Follow {
			c.follow(conn)
			return
		}
		if !reply(conn, c.answer(r)) {
			return
		}
	}
}

// samePeer asks who is at the other end.
func (c *controls) samePeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var refused error
	if err := raw.Control(func(fd uintptr) { refused = c.peers.May(int(fd)) }); err != nil {
		return err
	}
	return refused
}

func reply(conn *net.UnixConn, r slirp.Response) bool {
	if err := conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return false
	}
	return json.NewEncoder(conn).Encode(r) == nil
}

func (c *controls) answer(r slirp.Request) slirp.Response {
	n := c.network
	var err error
	switch r.Op {
	case slirp.OpRules:
		return slirp.Response{Rules: n.gate.Rules()}
	case slirp.OpAllow, slirp.OpDeny:
		err = n.gate.Add(r.Rule, r.Op == slirp.OpAllow, r.For)
	case slirp.OpRemove:
		err = n.gate.Remove(r.Rule)
	case slirp.OpFlows:
		if n.mode == slirp.ModeNames { // the other program's
			break
		}
		return slirp.Response{Flows: n.engine.Flows()}
	case slirp.OpLog:
		return slirp.Response{Events: n.gate.Denied()}
	case slirp.OpUsage:
		if n.mode == slirp.ModeNames {
			break
		}
		return slirp.Response{Usage: n.usage()}
	case slirp.OpAnswer:
		err = n.reply(r)
	case slirp.OpPorts:
		return slirp.Response{Publish: n.published()}
	case slirp.OpPublish:
		if n.mode == slirp.ModeNames {
			return slirp.Response{Error: "only sbx-net publishes ports while the sandbox runs, and this network is made by another program"}
		}
		return c.publish(r.Publish)
	default:
		err = fmt.Errorf("there is no request %q", r.Op)
	}
	if err != nil {
		return slirp.Response{Error: err.Error()}
	}
	return slirp.Response{}
}

// reply is an answer to a question.
func (n *network) reply(r slirp.Request) error {
	if r.Once && r.Allow {
		return n.gate.AnswerOnce(r.ID)
	}
	return n.gate.Answer(r.ID, r.Allow)
}

// usage says what this process takes. It counts descriptors one by one: it may
// not look into /proc.
func (n *network) usage() *slirp.Usage {
	u := &slirp.Usage{Flows: len(n.engine.Flows()), Goroutines: runtime.NumGoroutine()}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024
	}
	for fd := range min(limit.Cur, 1<<16) {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			u.Descriptors++
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Memory = int64(m.Sys - m.HeapReleased)
	return u
}

// publish opens ports while the sandbox runs.
func (c *controls) publish(p *slirp.Publish) slirp.Response {
	if p == nil {
		return slirp.Response{Error: "publish: nothing is named"}
	}
	n := c.network
	with := n.config
	with.Publish = []slirp.Publish{*p}
	if err := with.Validate(); err != nil {
		return slirp.Response{Error: err.Error()}
	}
	list, err := n.publishLive(*p)
	if err != nil {
		return slirp.Response{Error: err.Error()}
	}
	return slirp.Response{Publish: list}
}

// follow sends the denials so far and then each as it comes, until the caller
// closes or the network ends.
func (c *controls) follow(conn *net.UnixConn) {
	next, stop := c.network.events.subscribe()
	defer stop()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var b [1]byte
		_, _ = conn.Read(b[:]) // it has nothing more to say: this is its end
	}()
	if !reply(conn, slirp.Response{Events: c.network.gate.Denied()}) {
		return
	}
	for {
		select {
		case ev := <-next:
			if !reply(conn, slirp.Response{Events: []slirp.Event{ev}}) {
				return
			}
		case <-gone:
			return
		}
	}
}
