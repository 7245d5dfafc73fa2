package run

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/child"
	"github.com/sbx-sandbox/sbx/sandbox/run/internal/companion"
)

// server is fuse-overlayfs, serving one mount's layers.
type server struct {
	*companion.Companion
	target string
}

// serveLayers starts fuse-overlayfs for each mount that the child hands out, in
// the plan's order, where the kernel's own overlayfs is not to do.
func (s *sandboxed) serveLayers() error {
	if s.plan.Overlay.Program == "" {
		return nil
	}
	for i := range s.plan.Mounts {
		m := &s.plan.Mounts[i]
		if m.Kind != sandbox.Layers {
			continue
		}
		if err := s.until(s.ends.layers); err != nil {
			return err
		}
		fds, err := receive(s.ends.layers, 1+1+len(m.Lower))
		if err != nil {
			return fmt.Errorf("receiving the layers of %s: %w", m.Target, err)
		}
		if len(fds) == 0 {
			return nil // the child is gone, and has reported why
		}
		c, err := s.serve(m, fds[0], fds[1:])
		closeAll(fds)
		if err != nil {
			return fmt.Errorf("starting fuse-overlayfs for %s: %w", m.Target, err)
		}
		v := &server{c, m.Target}
		s.servers = append(s.servers, v)
		s.others = append(s.others, &other{fd: c.PidFD, take: v.ended})
		said := &other{fd: c.Stderr}
		said.take = func() error {
			c.Take()
			said.fd = c.Stderr
			return nil
		}
		s.others = append(s.others, said)
		if _, err := unix.Write(s.ends.layers, []byte{1}); err != nil && !errors.Is(err, unix.EPIPE) {
			return fmt.Errorf("telling the sandbox that its layers are served: %w", err)
		}
	}
	return nil
}

// ended is for when the server's pidfd can be read: nothing in its mount works
// any more.
func (v *server) ended() error {
	return fmt.Errorf("the files of %s are gone: %w; everything in the sandbox was killed, what it had written is kept", v.target, v.Failure())
}

// receive takes one message with at most n descriptors; none is the end.
func receive(socket, n int) (fds []int, err error) {
	var data [1]byte
	oob := make([]byte, unix.CmsgSpace(4*n))
	var got, oobn int
	for {
		got, oobn, _, _, err = unix.Recvmsg(socket, data[:], oob, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.ECONNRESET) { // it is gone, and had not read what it was told
		return nil, nil
	}
	if err != nil || got == 0 {
		return nil, err
	}
	if fds = rights(oob[:oobn]); len(fds) != n { // they come without where none is free
		closeAll(fds)
		return nil, unix.EMFILE
	}
	return fds, nil
}

// rights are the descriptors that came beside a message (unix(7), SCM_RIGHTS).
func rights(oob []byte) []int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return nil
	}
	return fds
}

// serve starts fuse-overlayfs in the sandbox's user namespace.
func (s *sandboxed) serve(m *sandbox.Mount, device int, lower []int) (*companion.Companion, error) {
	o := &s.plan.Overlay
	kept, err := unix.Openat2(unix.AT_FDCWD, o.Path(), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: o.Path(), Err: err}
	}
	defer unix.Close(kept)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/null", Err: err}
	}
	defer unix.Close(null)
	said, err := newChannel()
	if err != nil {
		return nil, err
	}
	defer said.close()
	if err := unix.SetNonblock(said.read, true); err != nil {
		return nil, err
	}
	report, err := newChannel()
	if err != nil {
		return nil, err
	}
	defer report.close()
	free, err := firstFree() // last: all that the server gets is open
	if err != nil {
		return nil, err
	}
	prog, err := program.CompileServer(&program.Server{
		Init: s.fd, Starter: unix.Getpid(), Path: o.Program, Device: device, Lower: lower, Kept: kept,
		Upper: m.Upper, Work: m.Work, Stderr: said.write, Null: null, Free: free, Landlock: s.plan.Security.Landlock.ABI, Sync: o.Sync,
	})
	if err != nil {
		return nil, err
	}
	var slots program.Slots
	slots[program.SlotReport] = uint64(report.write)
	c, err := child.Start(prog, slots)
	if err != nil {
		return nil, err
	}
	defer c.Forget()
	server := companion.Adopt("fuse-overlayfs", c.PID, c.PidFD, said.read)
	said.read = -1 // it is the server's to close
	report.closeWrite()
	if err := failedStep(prog, report.read); err != nil {
		server.Stop(0)
		return nil, err
	}
	return server, nil
}

// channel is a pipe, both ends of which are this process's at first.
type channel struct{ read, write int }

func newChannel() (*channel, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	return &channel{p[0], p[1]}, nil
}

// closeWrite leaves the writing end to who has it besides: the end of that one is the
// end of what is read.
func (c *channel) closeWrite() {
	if c.write >= 0 {
		unix.Close(c.write)
		c.write = -1
	}
}

func (c *channel) close() {
	c.closeWrite()
	if c.read >= 0 {
		unix.Close(c.read)
		c.read = -1
	}
}

// failedStep waits until a program is executed, which closes the pipe, or says
// which of its steps failed.
func failedStep(prog *program.Program, report int) error {
	var b [child.ReportSize]byte
	n, err := readFull(report, b[:])
	if err != nil || n == 0 {
		return err
	}
	rep, err := child.ParseReport(b[:n])
	if err != nil {
		return err
	}
	step, err := prog.Step(program.OpIndex(rep.Offset))
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", step.Doc(), rep.Errno)
}

// firstFree is a number from which on no descriptor is open.
func firstFree() (int, error) {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	free := 3
	for _, e := range list {
		if n, err := strconv.Atoi(e.Name()); err == nil && n >= free {
			free = n + 1
		}
	}
	return free, nil
}

// flushing is how long fuse-overlayfs may take to write what the kernel still has
// of the sandbox's files: it ends by itself then.
const flushing = 30 * time.Second

// stopServers waits for each server to end, once the sandbox is gone. The error
// is that one did not end as it should: the command may have had no files, or
// what the kernel still had of them was not written.
func (s *sandboxed) stopServers(patience time.Duration) error {
	var errs []error
	for _, v := range s.servers {
		end := time.Now().Add(patience)
		if status, ended := v.EndBy(end); !ended {
			errs = append(errs, fmt.Errorf("fuse-overlayfs had not written all of %s after %v, and was killed", v.target, patience))
		} else if status != 0 {
			errs = append(errs, fmt.Errorf("the files of %s are gone: %w; what was written is kept", v.target, v.Failure()))
		}
		s.said = append(s.said, v.Said())
		v.Stop(0)
	}
	s.servers = nil
	return errors.Join(errs...)
}

// served adds to the failure of a step what a server had to say.
func (s *sandboxed) served(err error) error {
	for _, v := range s.said {
		if v != "" {
			return fmt.Errorf("%w; fuse-overlayfs: %s", err, v)
		}
	}
	return err
}
