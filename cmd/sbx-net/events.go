package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
)

// events sends what happens to the supervisor, to the audit file, and to those
// who follow the log. Nobody of them can hold the network up: what a slow reader
// does not take is dropped for it.
type events struct {
	queue chan told
	done  chan struct{}
	slow  atomic.Bool // the supervisor did not read in time, and is not waited for

	mu     sync.Mutex
	closed bool
	all    bool // the audit wants what was allowed too
	file   *os.File
	left   int64                         // bytes that the audit may still grow by
	follow map[chan slirp.Event]struct{} // of the control socket
}

// told is an event for the supervisor. written, if there is one, is closed when
// it is on its way.
type told struct {
	slirp.Event
	written chan struct{}
}

// Bounds of what is kept for a reader, in events, and of the audit file, in bytes.
const (
	queueLen  = 1024
	followLen = 256
	maxAudit  = 64 << 20
)

func newEvents(pipe *os.File) *events {
	e := &events{queue: make(chan told, queueLen), done: make(chan struct{}), follow: map[chan slirp.Event]struct{}{}}
	go func() {
		defer close(e.done)
		defer pipe.Close()
		to := json.NewEncoder(pipe)
		gone := false
		for ev := range e.queue {
			if !gone && to.Encode(ev.Event) != nil {
				gone = true // nobody reads: its end is told by the link
			}
			if ev.written != nil {
				close(ev.written)
			}
			if len(e.queue) == 0 {
				e.slow.Store(false)
			}
		}
	}()
	return e
}

// audit opens the file of a Config's Audit.
func (e *events) audit(a slirp.Audit) error {
	if a.Mode == "" || a.Mode == "off" {
		return nil
	}
	f, err := os.OpenFile(a.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("the network's audit file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: a.Path, Err: errors.New("it is no regular file")}
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("the network's audit file: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.file, e.all, e.left = f, a.Mode == "all", max(maxAudit-info.Size(), 0)
	return nil
}

// tellTime is how long a denial waits for the supervisor to have read so much that
// there is room for it. The sandbox learns of it after that: a command that then
// ends has its denials told.
const tellTime = 100 * time.Millisecond

// send passes an event on. Of denials and permissions, the supervisor gets the
// first denial of each destination.
func (e *events) send(ev slirp.Event) {
	written := e.put(ev)
	if written == nil || e.slow.Load() {
		return
	}
	select {
	case <-written:
	case <-time.After(tellTime):
		e.slow.Store(true)
	}
}

// put is send without the waiting. What it returns, if anything, is closed when the
// supervisor can read the event.
func (e *events) put(ev slirp.Event) (written chan struct{}) {
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.record(ev)
	if ev.Event == slirp.EventAllowed {
		return nil
	}
	if ev.Event == slirp.EventDenied {
		for c := range e.follow {
			select {
			case c <- ev:
			default:
			}
		}
		if !ev.First {
			return nil
		}
		written = make(chan struct{})
	}
	select {
	case e.queue <- told{ev, written}:
		return written
	default:
		return nil
	}
}

// record writes an event to the audit file. Precondition: e.mu is held.
func (e *events) record(ev slirp.Event) {
	if e.file == nil || ev.Event != slirp.EventDenied && (ev.Event != slirp.EventAllowed || !e.all) {
		return
	}
	line, err := json.Marshal(ev)
	if err != nil {
		return
	}
	line = append(line, '\n')
	if e.left -= int64(len(line)); e.left < 0 {
		e.stopAudit(fmt.Sprintf("it has %d MiB", maxAudit>>20))
		return
	}
	if _, err := e.file.Write(line); err != nil {
		e.stopAudit(err.Error())
	}
}

// stopAudit closes the file and says so. Precondition: e.mu is held.
func (e *events) stopAudit(why string) {
	ev := slirp.Event{Event: slirp.EventLimit, Time: time.Now(), Message: "nothing more is written to the network's audit file: " + why}
	e.file.Close()
	e.file = nil
	select {
	case e.queue <- told{ev, nil}:
	default:
	}
}

// subscribe returns the denials from now on; the returned function ends that.
func (e *events) subscribe() (<-chan slirp.Event, func()) {
	c := make(chan slirp.Event, followLen)
	e.mu.Lock()
	e.follow[c] = struct{}{}
	e.mu.Unlock()
	return c, func() {
		e.mu.Lock()
		delete(e.follow, c)
		e.mu.Unlock()
	}
}

// flushTime is how long the supervisor may take to read the last events.
const flushTime = time.Second

// close sends what is left.
func (e *events) close() {
	e.mu.Lock()
	e.closed = true
	if e.file != nil {
		e.file.Close()
		e.file = nil
	}
	e.mu.Unlock()
	close(e.queue)
	select {
	case <-e.done:
	case <-time.After(flushTime):
	}
}
