package networks

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/slirp"
)

// Connect connects to the holder of a network, and starts it where nobody is in
// the network yet. helper is the path of sbx-net. The connection is a place in the
// network, and keeps the holder.
func (s Store) Connect(name, helper string) (*control.Conn, error) {
	held, err := s.lock(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(held)
	c, err := s.dial(name)
	if c != nil || err != nil {
		return c, err
	}
	r, err := s.Load(name)
	if err != nil {
		return nil, err
	}
	if err := s.start(&r, helper); err != nil {
		return nil, fmt.Errorf("starting the network %s: %w", name, err)
	}
	if c, err = s.dial(name); c == nil && err == nil {
		err = errors.New("it has ended at once")
	}
	if err != nil {
		return nil, fmt.Errorf("the network %s was started: %w", name, err)
	}
	return c, nil
}

// dial connects to the holder, nil where there is none. What one has left behind
// that was killed is removed.
//
// Precondition: the network is locked.
func (s Store) dial(name string) (*control.Conn, error) {
	path := s.Socket(name)
	c, err := control.Dial(path)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, unix.ECONNREFUSED):
		if err := unix.Unlink(path); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, &os.PathError{Op: "unlink", Path: path, Err: err}
		}
		return nil, nil
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	}
	return nil, err
}

// start starts the holder, in a session of its own, and waits until it is ready.
func (s Store) start(r *Record, helper string) error {
	listen, err := control.Listen(s.Socket(r.Name))
	if err != nil {
		return err
	}
	started := false
	defer func() {
		unix.Close(listen)
		if !started {
			_ = unix.Unlink(s.Socket(r.Name))
		}
	}()
	files, err := s.descriptors(r, listen)
	if err != nil {
		return err
	}
	// What the caller's shell left open is not for a process that goes on.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	events := files.events
	defer events.Close()
	p, err := os.StartProcess(helper, []string{filepath.Base(helper), slirp.ModeNetwork, "--protocol", strconv.Itoa(slirp.Protocol)},
		&os.ProcAttr{Dir: "/", Env: []string{}, Files: files.theirs, Sys: &syscall.SysProcAttr{Setsid: true}})
	files.close()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e slirp.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch e.Event {
		case slirp.EventReady:
			started = true
			return p.Release() // it is nobody's child but the system's when this process is gone
		case slirp.EventError:
			_, _ = p.Wait()
			return errors.New(e.Message)
		}
	}
	st, err := p.Wait()
	if err != nil {
		return err
	}
	return fmt.Errorf("sbx-net has ended: %s", st)
}

// descriptors are what the holder gets, and where it is heard.
type descriptors struct {
	theirs []*os.File
	events *os.File
}

func (d *descriptors) close() {
	for _, f := range d.theirs {
		f.Close()
	}
}

func (s Store) descriptors(r *Record, listen int) (*descriptors, error) {
	text, err := json.Marshal(slirp.Network{
		Protocol: slirp.Protocol, Name: r.Name, IPv4: r.IPv4, IPv6: r.IPv6, Isolated: r.Isolated, Hubs: r.Hubs,
		Socket: s.Socket(r.Name), Lock: s.path(r.Name),
	})
	if err != nil {
		return nil, err
	}
	d := &descriptors{}
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	d.theirs = append(d.theirs, in)
	_, err = out.Write(text) // less than a pipe holds
	out.Close()
	if err != nil {
		d.close()
		return nil, err
	}
	for range 2 {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			d.close()
			return nil, err
		}
		d.theirs = append(d.theirs, null)
	}
	fd, err := unix.FcntlInt(uintptr(listen), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		d.close()
		return nil, err
	}
	d.theirs = append(d.theirs, os.NewFile(uintptr(fd), "socket"))
	events, theirs, err := os.Pipe()
	if err != nil {
		d.close()
		return nil, err
	}
	d.theirs, d.events = append(d.theirs, theirs), events
	return d, nil
}

// Members lists who is in a network. The network is not started for that.
func (s Store) Members(name string) ([]slirp.Member, error) {
	held, err := s.lock(name)
	if err != nil {
		return nil, err
	}
	c, err := s.dial(name)
	unix.Close(held)
	if c == nil || err != nil {
		return nil, err
	}
	defer c.Close()
	return members(c)
}

// patience is how long a holder may take to say who is there.
const patience = 5 * time.Second

func members(c *control.Conn) ([]slirp.Member, error) {
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(c.FD(), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, fmt.Errorf("asking the network's holder: %w", err)
	}
	if err := c.Send(&slirp.NetworkRequest{Protocol: slirp.Protocol, Op: slirp.OpMembers}); err != nil {
		return nil, fmt.Errorf("asking the network's holder: %w", err)
	}
	var r slirp.NetworkReply
	fds, err := c.Receive(&r)
	control.CloseAll(fds)
	switch {
	case errors.Is(err, unix.EAGAIN):
		err = fmt.Errorf("it has not answered for %s; is the process sbx-net network stopped?", patience)
	case err == nil && r.Error != "":
		err = errors.New(r.Error)
	}
	if err != nil {
		return nil, fmt.Errorf("asking the network's holder: %w", err)
	}
	return r.Members, nil
}

func names(list []slirp.Member) string {
	var all []string
	for _, m := range list {
		all = append(all, m.Name)
	}
	return strings.Join(all, ", ")
}
