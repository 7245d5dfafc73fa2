package hub

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/nft"
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

// TestSets: a rule is about the addresses of those who are called so, and of nobody
// else.
func TestSets(t *testing.T) {
	a := netip.MustParseAddr
	members := []slirp.Member{
		{Names: []string{"db", "store"}, IPv4: a("10.89.3.2"), IPv6: a("fd53::2")}, {Names: []string{"web"}, IPv4: a("10.89.3.3")}, {IPv4: a("10.89.3.4")},
	}
	for text, want := range map[string]string{
		"db:80": "db: 10.89.3.2 fd53::2", "STORE": "store: 10.89.3.2 fd53::2", "web": "web: 10.89.3.3", "nobody": "nobody:",
		"10.89.3.4": "", "10.89.3.0/30": "", "@members": "@members: 10.89.3.2 fd53::2 10.89.3.3 10.89.3.4",
		"web:80 db web:81": "web: 10.89.3.3; db: 10.89.3.2 fd53::2",
	} {
		var rules []policy.Rule
		for one := range strings.FieldsSeq(text) {
			r, err := policy.Parse(one)
			if err != nil {
				t.Fatal(err)
			}
			rules = append(rules, r)
		}
		var list []string
		for _, s := range setsOf(rules, members) {
			is := s.Names + ":"
			for _, a := range s.Addresses {
				is += " " + a.String()
			}
			list = append(list, is)
		}
		if got := strings.Join(list, "; "); got != want {
			t.Errorf("%s is about %q, want %q", text, got, want)
		}
	}
}

// crowd is a network with so many members, each with rules of its own.
func crowd(n int) []slirp.Member {
	var list []slirp.Member
	four, six := netip.MustParsePrefix("10.90.0.0/16"), netip.MustParsePrefix("fd53:6278:a5a::/64")
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 90, byte((i + 2) >> 8), byte(i + 2)})
		name := fmt.Sprintf("worker-of-the-build-farm-%03d", i)
		list = append(list, slirp.Member{
			Name: name, Names: slirp.MemberNames(name, name+"-host", "worker", "farm"), Device: "eth0", IPv4: a, IPv6: beside(a, four, six),
		})
	}
	return list
}

// TestCrowd: what is said of a network that is full, to its members, to the kernel and
// to who lists it, fits into what it is said by.
func TestCrowd(t *testing.T) {
	members := crowd(mostMembers)
	var rules []policy.Rule
	for i, text := range []string{"@members:80", "@members:8000-8010", "udp://@members:53", "worker", "farm:22", "worker-of-the-build-farm-007:5432", "10.90.0.0/24"} {
		r, err := policy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		r.Allow = i != 3
		rules = append(rules, r)
	}
	const usual = 212992 - 32 // net.core.wmem_default, of which the kernel wants the rest
	if n := len(nft.BatchOf("eth0", nft.Members("eth0", rules))); n > 32<<10 {
		t.Errorf("the rules take %d bytes", n)
	}
	if n := len(nft.FillOf("eth0", setsOf(rules, members))); n > usual {
		t.Errorf("their sets take %d bytes", n)
	}
	text, err := json.Marshal(slirp.Members{Members: members})
	if err != nil || len(text) > usual {
		t.Errorf("the list for a member takes %d bytes, %v", len(text), err)
	}
	if text, err = json.Marshal(slirp.NetworkReply{Members: members}); err != nil || len(text) > control.MaxMessage {
		t.Errorf("the list for everybody takes %d bytes of %d, %v", len(text), control.MaxMessage, err)
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

// TestLeaveTwice: who has left leaves nothing that a second time could close, which
// would be somebody else's by then.
func TestLeaveTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	listen, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listen)
	is, err := control.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	open := func() int {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	c := &conn{Conn: is, names: open(), filter: &filter{socket: open()}}
	h := &Hub{conns: []*conn{c}}
	h.leave(c)
	var others []int
	for range 3 {
		fd := open()
		defer unix.Close(fd)
		others = append(others, fd)
	}
	h.leave(c)
	for _, fd := range others {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			t.Errorf("descriptor %d, once its own: %v", fd, err)
		}
	}
}
