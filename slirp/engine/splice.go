package engine

import (
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// splice moves data between the halves of a connection until both are at their
// end. Each direction ends for itself (a half-close); an error ends both, and
// the other side gets a reset where this one had one. There is no buffer of our
// own: data goes from the socket into the stack's buffers and back.
func (e *Engine) splice(f *flow, in inside, out *net.TCPConn) {
	var once sync.Once
	done := make(chan struct{})
	abort := func() {
		once.Do(func() {
			close(done)
			_ = out.SetLinger(0) // a reset instead of an end
			out.Close()          // before the other half, whose end would be passed on
			in.ep.Abort()
		})
	}
	f.closer(abort)
	over := make(chan struct{}) // nothing more comes for the sandbox
	var wg sync.WaitGroup
	wg.Go(func() {
		if !e.toHost(f, in, out, done, over) {
			abort()
		}
	})
	ended := e.toSandbox(f, in, out, done)
	close(over) // before the sandbox's half may close by itself
	if !ended || in.ep.Shutdown(tcpip.ShutdownWrite) != nil {
		abort()
	}
	wg.Wait()
	once.Do(func() {
		close(done)
		in.ep.Close()
		out.Close()
	})
}

// toHost moves what the sandbox sends, until its end, which it passes on, and returns
// when the other direction is over too. It is false after an error.
func (e *Engine) toHost(f *flow, in inside, out *net.TCPConn, done, over <-chan struct{}) bool {
	conn, err := out.SyscallConn()
	if err != nil {
		return false
	}
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	in.queue.EventRegister(&entry)
	defer in.queue.EventUnregister(&entry)
	for {
		var terr tcpip.Error
		w := socketWriter{}
		err := conn.Write(func(fd uintptr) bool {
			w = socketWriter{fd: int(fd)}
			_, terr = in.ep.Read(&w, tcpip.ReadOptions{})
			if w.n > 0 {
				return true // counted below, before more is read
			}
			return w.err != unix.EAGAIN
		})
		if w.n > 0 {
			if f.out.Add(w.n) == w.n { // the first
				in.spoke()
			}
			if !e.out.take(w.n, done) {
				return false
			}
			continue
		}
		if err != nil || w.err != nil {
			return false
		}
		switch terr.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			select {
			case <-readable:
			case <-done:
				return false
			}
		case *tcpip.ErrClosedForReceive:
			return out.CloseWrite() == nil && in.lasts(readable, over)
		default:
			return false
		}
	}
}

// lasts waits until over, and is false if the sandbox's half was reset before: it sent
// its end, and is gone now, of which the other side hears only when it says something.
func (in inside) lasts(changed, over <-chan struct{}) bool {
	for {
		switch tcp.EndpointState(in.ep.State()) {
		case tcp.StateError, tcp.StateClose: // as a reset leaves who has ended already
			select {
			case <-over:
				return true
			default:
				return false
			}
		}
		select {
		case <-changed:
		case <-over:
			return true
		}
	}
}

// socketWriter writes to a socket that does not block.
type socketWriter struct {
	fd  int
	n   int64
	err error
}

func (w *socketWriter) Write(b []byte) (int, error) {
	n, err := unix.Write(w.fd, b)
	if n < 0 {
		n = 0
	}
	w.n += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	w.err = err
	return n, err
}

// toSandbox moves what comes for the sandbox, until its end. It is false after an
// error.
func (e *Engine) toSandbox(f *flow, in inside, out *net.TCPConn, done <-chan struct{}) bool {
	conn, err := out.SyscallConn()
	if err != nil {
		return false
	}
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	in.queue.EventRegister(&entry)
	defer in.queue.EventUnregister(&entry)
	for {
		var terr tcpip.Error
		var n int64
		var sock error
		ended := false
		err := conn.Read(func(fd uintptr) bool {
			var r socketReader
			r, ended, sock = waiting(int(fd))
			if sock == unix.EAGAIN {
				return false
			}
			if ended || sock != nil {
				return true
			}
			n, terr = in.ep.Write(&r, tcpip.WriteOptions{})
			return true
		})
		if n > 0 {
			f.in.Add(n)
			if !e.in.take(n, done) {
				return false
			}
		}
		switch {
		case err != nil || sock != nil:
			return false
		case ended:
			return true
		}
		switch terr.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			select {
			case <-writable:
			case <-done:
				return false
			}
		default:
			return false
		}
	}
}

// waiting says what can be read from a socket: a reader of what is there, or
// that it is at its end, or EAGAIN, or its error.
func waiting(fd int) (r socketReader, ended bool, err error) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return r, false, err
	}
	if n == 0 {
		var one [1]byte
		n, _, err = unix.Recvfrom(fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != nil {
			return r, false, err
		}
		if n == 0 {
			return r, true, nil
		}
	}
	return socketReader{fd: fd, left: n}, false, nil
}

// socketReader is a tcpip.Payloader of what waits in a socket.
type socketReader struct{ fd, left int }

// Len is how much that is.
func (r *socketReader) Len() int { return r.left }

func (r *socketReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := unix.Read(r.fd, b[:min(len(b), r.left)])
	if err != nil || n <= 0 {
		return 0, io.EOF // it was there: nobody else reads
	}
	r.left -= n
	return n, nil
}
