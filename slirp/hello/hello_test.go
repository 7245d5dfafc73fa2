package hello

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// record captures what a client sends first.
func record(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c.InsecureSkipVerify = true
	go func() { _ = tls.Client(a, c).Handshake() }() // it fails: nobody answers
	if err := b.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 5)
	if _, err := io.ReadFull(b, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(b, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// fragment cuts the handshake message of one record into records of n bytes.
func fragment(one []byte, n int) []byte {
	var out []byte
	for body := one[5:]; len(body) > 0; {
		k := min(n, len(body))
		out = append(out, one[0], one[1], one[2], byte(k>>8), byte(k))
		out = append(out, body[:k]...)
		body = body[k:]
	}
	return out
}

func TestRead(t *testing.T) {
	plain := record(t, &tls.Config{ServerName: "Allowed.Example"})
	long := record(t, &tls.Config{ServerName: "allowed.example", NextProtos: []string{strings.Repeat("a", 200), strings.Repeat("b", 200)}})
	for _, tt := range []struct {
		name string
		in   io.Reader
		want string
		err  error
	}{
		{name: "plain", in: bytes.NewReader(plain), want: "allowed.example"},
		{name: "byte by byte", in: iotest.OneByteReader(bytes.NewReader(plain)), want: "allowed.example"},
		{name: "in records of 1", in: bytes.NewReader(fragment(plain, 1)), want: "allowed.example"},
		{name: "in records of 7", in: iotest.HalfReader(bytes.NewReader(fragment(long, 7))), want: "allowed.example"},
		{name: "tls 1.2", in: bytes.NewReader(record(t, &tls.Config{ServerName: "x.example", MaxVersion: tls.VersionTLS12})), want: "x.example"},
		{name: "no name", in: bytes.NewReader(record(t, &tls.Config{}))},
		{name: "an address", in: bytes.NewReader(record(t, &tls.Config{ServerName: "198.51.100.1"}))},
		{name: "http", in: strings.NewReader("GET / HTTP/1.0\r\n\r\n"), err: ErrNot},
		{name: "ssh", in: strings.NewReader("SSH-2.0-x\r\n"), err: ErrNot},
		{name: "nothing", in: strings.NewReader(""), err: errEnd},
		{name: "half", in: bytes.NewReader(plain[:len(plain)/2]), err: errEnd},
		{name: "endless", in: bytes.NewReader(fragment(append([]byte{22, 3, 1, 0, 0, 1, 0, 255, 255}, make([]byte, 1<<16-1)...), 100)), err: errLong},
		{name: "slow", in: iotest.ErrReader(os.ErrDeadlineExceeded), err: errSlow},
		{name: "broken", in: iotest.ErrReader(net.ErrClosed), err: net.ErrClosed},
	} {
		taken, got, err := Read(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) {
			t.Errorf("%s: %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
		if tt.name == "plain" && !bytes.Equal(taken, plain) {
			t.Errorf("%s: took %d bytes of %d", tt.name, len(taken), len(plain))
		}
	}
}

// TestMore: what follows the ClientHello is not lost.
func TestMore(t *testing.T) {
	plain := record(t, &tls.Config{ServerName: "x.example"})
	all := append(bytes.Clone(plain), "more of it"...)
	r := bytes.NewReader(all)
	taken, name, err := Read(r)
	if err != nil || name != "x.example" {
		t.Fatalf("%q, %v", name, err)
	}
	rest, _ := io.ReadAll(r)
	if !bytes.Equal(append(taken, rest...), all) {
		t.Error("bytes were lost")
	}
}

// FuzzRead: it never panics, never takes more than Max, and loses nothing.
func FuzzRead(f *testing.F) {
	plain := record(f, &tls.Config{ServerName: "allowed.example"})
	f.Add(plain)
	f.Add(fragment(plain, 3))
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		taken, name, err := Read(r)
		if len(taken) > Max {
			t.Fatalf("took %d bytes", len(taken))
		}
		rest, _ := io.ReadAll(r)
		if !bytes.Equal(append(taken, rest...), in) {
			t.Fatal("bytes were lost")
		}
		if err != nil && name != "" {
			t.Fatalf("%q with %v", name, err)
		}
	})
}
