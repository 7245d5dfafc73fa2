package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

// Bounds on what is served to sockets of the sandbox's.
const (
	idle       = 10 * time.Second
	maxStreams = 64
	maxPackets = 512 // questions under way at once
)

// Stream answers questions by TCP (RFC 7766) until the other side has no more, or
// says nothing for a while.
func Stream(ctx context.Context, conn net.Conn, answer func(ctx context.Context, query []byte, tcp bool) []byte) {
	for {
		if err := conn.SetDeadline(time.Now().Add(idle)); err != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		a := answer(ctx, query, true)
		if a == nil {
			return
		}
		if err := conn.SetDeadline(time.Now().Add(idle)); err != nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return
		}
	}
}

// ServePackets answers what comes to a socket until it is closed.
func (s *Server) ServePackets(ctx context.Context, conn net.PacketConn) {
	slots := make(chan struct{}, maxPackets)
	b := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an answer that did not arrive
		}
		select {
		case slots <- struct{}{}:
		default:
			continue // dropped: it will be asked again
		}
		query := append([]byte(nil), b[:n]...)
		go func() {
			defer func() { <-slots }()
			if answer := s.Answer(ctx, query, false); answer != nil {
				_, _ = conn.WriteTo(answer, from) // lost, or nobody waits any more
			}
		}()
	}
}

// ServeStreams answers those who connect to a listener until it is closed.
func (s *Server) ServeStreams(ctx context.Context, l net.Listener) {
	slots := make(chan struct{}, maxStreams)
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond) // too many files: some will be closed
			continue
		}
		select {
		case slots <- struct{}{}:
			go func() {
				defer func() { <-slots }()
				defer conn.Close()
				Stream(ctx, conn, s.Answer)
			}()
		default:
			conn.Close()
		}
	}
}
