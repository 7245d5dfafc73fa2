package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/run/internal/companion"
	"github.com/sbx-sandbox/sbx/slirp"
)

// speaker is an sbx-net: it says what happens on the sandbox's network.
type speaker struct {
	program *companion.Companion
	link    int // a socket, by which it gets descriptors of the sandbox's; its end ends it
	events  int // a pipe of slirp.Events, a JSON object a line
	line    []byte
}

// speak starts an sbx-net at path to do what mode says (package slirp).
func (n *network) speak(path, mode string) (*speaker, error) {
	var events [2]int
	if err := unix.Pipe2(events[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer unix.Close(events[1])
	k := &speaker{link: -1, events: events[0]}
	if err := k.start(n, path, mode, events[1]); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *speaker) start(n *network, path, mode string, events int) error {
	if err := unix.SetNonblock(k.events, true); err != nil {
		return err
	}
	told := n.plan.Config // and not the plan's own, which others read
	if !n.canAsk() {
		told.Policy.OnDeny = ""
	}
	requests := -1
	if n.s.netSocket != "" {
		var err error
		if requests, err = listen(n.s.netSocket); err != nil {
			return err
		}
		defer unix.Close(requests)
		told.Control = true
	}
	config, err := memory(&told)
	if err != nil {
		return err
	}
	defer unix.Close(config)
	link, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(link[1])
	k.link = link[0]
	files := []int{config, companion.Null, companion.Captured, link[1], events, requests}
	members, err := n.enter()
	defer closeAll(members)
	if err != nil {
		return err
	}
	k.program, err = companion.Start(companion.Spec{
		Name: "sbx-net", Path: path, Args: []string{mode, "--protocol", strconv.Itoa(slirp.Protocol)}, Env: []string{},
		Files: append(files, members...),
	})
	return err
}

// give passes descriptors on. A program that is gone is noticed by its end.
func (k *speaker) give(fds ...int) error {
	err := unix.Sendmsg(k.link, []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return nil
	}
	return err
}

// order sends a request that is not answered. It may be lost, if the program is
// gone or does not read.
func (k *speaker) order(r slirp.Request) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = unix.Sendto(k.link, text, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return err
}

// hear hands over each event that is there. It is false when no more will come.
func (k *speaker) hear(each func(slirp.Event) error) (more bool, err error) {
	var b [4096]byte
	for {
		size, err := unix.Read(k.events, b[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return true, nil
		case err != nil || size <= 0:
			return false, nil
		}
		k.line = append(k.line, b[:size]...)
		for {
			line, rest, whole := bytes.Cut(k.line, []byte{'\n'})
			if !whole {
				break
			}
			k.line = rest
			var e slirp.Event
			if json.Unmarshal(line, &e) != nil {
				continue // a newer program may say what this one doesn't know
			}
			if err := each(e); err != nil {
				return true, err
			}
		}
		if len(k.line) > 1<<20 {
			k.line = nil // no event is as long; what is left of it is no JSON either
		}
	}
}

// finish ends the program and, where there is something to be said, hears its
// summary.
func (k *speaker) finish(wait bool, each func(slirp.Event) error) {
	unix.Close(k.link)
	k.link = -1
	for end := time.Now().Add(netSummary); wait; {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		fds := []unix.PollFd{{Fd: int32(k.events), Events: unix.POLLIN}, {Fd: int32(k.program.Stderr), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left/time.Millisecond)+1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		k.program.Take()
		if more, err := k.hear(each); err != nil || !more {
			return
		}
	}
}

// stop ends the program in any case.
func (k *speaker) stop(grace time.Duration) {
	if k != nil {
		k.program.Stop(grace)
		k.close()
	}
}

func (k *speaker) close() {
	for _, fd := range []int{k.link, k.events} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	k.link, k.events = -1, -1
}
