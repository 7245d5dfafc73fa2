package hub

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// with is a network with members at addresses.
func with(network string, taken ...string) *Hub {
	h := &Hub{network: slirp.Network{Name: "net", IPv4: netip.MustParsePrefix(network)}}
	for _, a := range taken {
		h.conns = append(h.conns, &conn{member: &slirp.Member{IPv4: netip.MustParseAddr(a)}}, &conn{})
	}
	return h
}

func TestFree(t *testing.T) {
	for _, tt := range []struct {
		network string
		taken   []string
		want    string // "" for none
	}{
		{"10.89.3.0/24", nil, "10.89.3.2"},
		{"10.89.3.0/24", []string{"10.89.3.2", "10.89.3.4"}, "10.89.3.3"},
		{"10.89.0.0/16", []string{"10.89.0.2"}, "10.89.0.3"},
		{"10.89.3.8/29", []string{"10.89.3.10", "10.89.3.11", "10.89.3.12", "10.89.3.13"}, "10.89.3.14"},
		{"10.89.3.8/29", []string{"10.89.3.10", "10.89.3.11", "10.89.3.12", "10.89.3.13", "10.89.3.14"}, ""},
	} {
		got, err := with(tt.network, tt.taken...).free()
		if (err != nil) != (tt.want == "") || err == nil && got.String() != tt.want {
			t.Errorf("%s with %v: %v, %v, want %s", tt.network, tt.taken, got, err, tt.want)
		}
	}
}

func TestBeside(t *testing.T) {
	six := netip.MustParsePrefix("fd53:6278:a59:300::/64")
	for four, want := range map[string]string{"10.89.3.2": "fd53:6278:a59:300::2", "10.89.3.200": "fd53:6278:a59:300::c8"} {
		if got := beside(netip.MustParseAddr(four), netip.MustParsePrefix("10.89.3.0/24"), six); got.String() != want {
			t.Errorf("%s is %s, want %s", four, got, want)
		}
	}
}

func TestIsolated(t *testing.T) {
	for _, tt := range []struct {
		network slirp.Network
		request slirp.NetworkRequest
		want    bool
	}{
		{slirp.Network{}, slirp.NetworkRequest{Names: []string{"a"}}, false},
		{slirp.Network{}, slirp.NetworkRequest{Names: []string{"a"}, Isolated: true}, true},
		{slirp.Network{Isolated: true}, slirp.NetworkRequest{Names: []string{"a"}}, true},
		{slirp.Network{Isolated: true, Hubs: []string{"db"}}, slirp.NetworkRequest{Names: []string{"a", "DB"}}, false},
		{slirp.Network{Isolated: true, Hubs: []string{"db"}}, slirp.NetworkRequest{Names: []string{"db"}, Isolated: true}, true},
	} {
		if got := (&Hub{network: tt.network}).isolated(&tt.request); got != tt.want {
			t.Errorf("%+v in %+v: %t", tt.request, tt.network, got)
		}
	}
}

// TestAmong: a rule is about the addresses of those who are called so, and of nobody
// else.
func TestAmong(t *testing.T) {
	a := netip.MustParseAddr
	members := []slirp.Member{
		{Names: []string{"db", "store"}, IPv4: a("10.89.3.2"), IPv6: a("fd53::2")}, {Names: []string{"web"}, IPv4: a("10.89.3.3")}, {IPv4: a("10.89.3.4")},
	}
	for text, want := range map[string]string{
		"db:80": "10.89.3.2/32 fd53::2/128", "STORE": "10.89.3.2/32 fd53::2/128", "web": "10.89.3.3/32", "nobody": "",
		"10.89.3.4": "10.89.3.4/32", "10.89.3.0/30": "10.89.3.0/30", "@members": "10.89.3.2/32 fd53::2/128 10.89.3.3/32 10.89.3.4/32",
	} {
		r, err := policy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, p := range among(members, r) {
			list = append(list, p.String())
		}
		if got := strings.Join(list, " "); got != want {
			t.Errorf("%s is about %q, want %q", text, got, want)
		}
	}
}

// TestKeep: rules about hundreds of members go to the kernel in one piece.
func TestKeep(t *testing.T) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	holds, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, holds*3/2) // of what says nothing
	binary.NativeEndian.PutUint32(piece, uint32(len(piece)))
	send := func(fd int) error {
		return unix.Sendto(fd, piece, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err := send(fd); !errors.Is(err, unix.EMSGSIZE) {
		t.Fatalf("control: %v", err)
	}
	kept, err := keep(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(kept)
	if err := send(kept); err != nil {
		t.Error(err)
	}
}
