// Package hello reads the first message of a TLS connection, the ClientHello,
// for the name of the server that it asks for (RFC 6066, section 3).
package hello

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// Max is how many bytes a ClientHello and its framing may have.
const Max = 64 << 10

// Read reads one ClientHello, in however many records and pieces it comes. It
// returns all bytes that it took from r, which are to go on to the server, and
// the name, "" if it asks for none, as policy.ParseName returns it. An error
// says why it is no ClientHello that anything could be said about; r's own error,
// as of a deadline, is in it.
//
// The parser is that of crypto/tls: what it does not understand is refused, so
// that a server can't understand it in another way.
func Read(r io.Reader) (taken []byte, name string, err error) {
	var buf bytes.Buffer
	var asked string
	seen := false
	in := &source{r: io.TeeReader(io.LimitReader(r, Max), &buf)}
	err = tls.Server(in, &tls.Config{
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			asked, seen = h.ServerName, true
			return nil, errSeen // nothing is answered
		},
	}).Handshake()
	if !seen {
		return buf.Bytes(), "", notTLS(buf.Bytes(), in.err, err)
	}
	if asked == "" {
		return buf.Bytes(), "", nil
	}
	name, err = policy.ParseName(asked)
	if err != nil {
		return buf.Bytes(), "", errors.New("its ClientHello asks for what is no name")
	}
	return buf.Bytes(), name, nil
}

// ErrNot is for what is no TLS from its first byte on.
var ErrNot = errors.New("it does not begin with a TLS ClientHello")

var (
	errSeen = errors.New("seen")
	errLong = errors.New("its ClientHello is longer than 64 KiB")
	errBad  = errors.New("its ClientHello can't be read")
	errEnd  = errors.New("it ended within its ClientHello")
	errSlow = errors.New("it did not send a ClientHello in time")
)

// notTLS is the reason why nothing was seen.
func notTLS(taken []byte, read, parse error) error {
	var timeout net.Error
	switch {
	case errors.As(read, &timeout) && timeout.Timeout():
		return errSlow
	case len(taken) >= Max:
		return errLong
	case errors.Is(read, io.EOF) && (len(taken) == 0 || taken[0] == recordHandshake):
		return errEnd
	case read != nil && !errors.Is(read, io.EOF):
		return read
	case taken[0] == recordHandshake && parse != nil:
		return errBad
	}
	return ErrNot
}

// recordHandshake is the type of the records that a ClientHello is in (RFC 8446,
// section 5.1).
const recordHandshake = 22

// source is a connection that can only be read.
type source struct {
	r   io.Reader
	err error // the last of r
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil {
		s.err = err
	}
	return n, err
}

func (*source) Write([]byte) (int, error)        { return 0, io.ErrClosedPipe }
func (*source) Close() error                     { return nil }
func (*source) LocalAddr() net.Addr              { return nil }
func (*source) RemoteAddr() net.Addr             { return nil }
func (*source) SetDeadline(time.Time) error      { return nil }
func (*source) SetReadDeadline(time.Time) error  { return nil }
func (*source) SetWriteDeadline(time.Time) error { return nil }
