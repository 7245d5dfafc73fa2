package networks

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
)

func TestPlace(t *testing.T) {
	others := []Record{{Name: "dev", IPv4: netip.MustParsePrefix("10.89.0.0/24")}}
	routes := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.89.1.0/25"), netip.MustParsePrefix("192.168.0.0/16")}
	for _, tt := range []struct{ want, subnet, err string }{
		{want: "10.89.2.0/24"},
		{subnet: "10.89.2.0/28", want: "10.89.2.0/28"},
		{subnet: "172.16.0.0/16", want: "172.16.0.0/16"},
		{subnet: "10.89.0.128/25", err: "10.89.0.128/25 is taken: the network dev has 10.89.0.0/24"},
		{subnet: "10.89.1.0/24", err: "10.89.1.0/24 is taken: the host has a route to 10.89.1.0/25"},
		{subnet: "192.168.7.0/24", err: "the host has a route to 192.168.0.0/16"},
		{subnet: "10.0.2.0/25", err: "what each sandbox has for itself"},
		{subnet: "fd00::/64", err: "no private subnet of IPv4"},
		{subnet: "192.0.2.0/24", err: "no private subnet of IPv4"},
		{subnet: "10.1.2.3/24", err: "write 10.1.2.0/24"},
		{subnet: "10.0.0.0/8", err: "16 to 29 bits"},
		{subnet: "10.1.2.3/8", err: "16 to 29 bits"},
	} {
		r := Record{Name: "one"}
		if tt.subnet != "" {
			r.IPv4 = netip.MustParsePrefix(tt.subnet)
		}
		err := r.place(others, routes)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %s", tt.subnet, err, tt.err)
			}
			continue
		}
		if err != nil || r.IPv4.String() != tt.want || r.IPv6.Bits() != 64 || !r.IPv6.Addr().IsPrivate() || r.IPv6 != r.IPv6.Masked() {
			t.Errorf("%s: %v, %v, %v", tt.subnet, r.IPv4, r.IPv6, err)
		}
	}
}

// TestCreate: networks that are made at the same time get different subnets, and a
// name is given once.
func TestCreate(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "networks"), Runtime: t.TempDir()}
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		for range 2 {
			wg.Go(func() { _, _ = s.Create(Record{Name: name}, nil) })
		}
	}
	wg.Wait()
	list, err := s.List()
	subnets, sixes := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
	for _, r := range list {
		subnets[r.IPv4], sixes[r.IPv6] = true, true
	}
	if err != nil || len(list) != 4 || len(subnets) != 4 || len(sixes) != 4 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.Create(Record{Name: "a"}, nil); err == nil || !strings.Contains(err.Error(), "there is a network a already") {
		t.Errorf("again: %v", err)
	}
}

func TestRemove(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "networks"), Runtime: t.TempDir()}
	if _, err := s.Create(Record{Name: "dev"}, nil); err != nil {
		t.Fatal(err)
	}
	// What a holder left that was killed keeps nobody.
	if err := os.WriteFile(s.Socket("dev"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("dev"); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(s.Runtime + "/*"); len(left) > 0 || err != nil {
		t.Errorf("%v, %v", left, err)
	}
	var none *NotFoundError
	if err := s.Remove("dev"); !errors.As(err, &none) {
		t.Errorf("again: %v", err)
	}
	if err := os.WriteFile(s.path("bad"), []byte(`{"version":2,"name":"bad"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); err == nil || len(list) != 0 {
		t.Errorf("what can't be read: %v, %v", list, err)
	}
	for _, name := range []string{"", "../x", "-a", "a b", "a/b", strings.Repeat("a", 65)} {
		if _, err := s.Load(name); err == nil || errors.As(err, &none) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestSweep: what a dead holder left is removed, and nothing else.
func TestSweep(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "networks"), Runtime: t.TempDir()}
	listening := map[string]int{}
	for _, name := range []string{"dead", "alive", "starting"} {
		if _, err := s.Create(Record{Name: name}, nil); err != nil {
			t.Fatal(err)
		}
		fd, err := control.Listen(s.Socket(name))
		if err != nil {
			t.Fatal(err)
		}
		listening[name] = fd
	}
	unix.Close(listening["dead"])
	unix.Close(listening["starting"])
	defer unix.Close(listening["alive"])
	for _, other := range []string{"events", "0123456789ab", "network-nobodys"} {
		if err := os.WriteFile(filepath.Join(s.Runtime, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held, err := s.lock("starting")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	s.Sweep()
	var left []string
	entries, _ := os.ReadDir(s.Runtime)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := "0123456789ab events network-alive network-nobodys network-starting"; strings.Join(left, " ") != want {
		t.Errorf("left are %v, want %s", left, want)
	}
}

// TestSilent: a holder that does not answer holds nobody up for ever.
func TestSilent(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "networks"), Runtime: t.TempDir()}
	if _, err := s.Create(Record{Name: "dev"}, nil); err != nil {
		t.Fatal(err)
	}
	fd, err := control.Listen(s.Socket("dev"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if list, err := s.Members("dev"); err == nil || !strings.Contains(err.Error(), "asking the network's holder: it has not answered for 5s") {
		t.Errorf("%v, %v", list, err)
	}
}
