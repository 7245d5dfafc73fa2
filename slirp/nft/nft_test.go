package nft

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp/policy"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

func rules(t testing.TB, allow, deny []string, s Surroundings) []Rule {
	t.Helper()
	got, err := Rules(policy.New(parsed(t, allow...), parsed(t, deny...)), s)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func parsed(t testing.TB, texts ...string) (list []policy.Rule) {
	t.Helper()
	for _, text := range texts {
		r, err := policy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

var usual = Surroundings{
	Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.2.100/24")}, Host: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
	Servers: []netip.AddrPort{netip.MustParseAddrPort("10.0.2.3:53")}, Inbound: true,
}

// packet is what a rule looks at.
type packet struct {
	to       string
	protocol uint8
	port     uint16
	named    bool // its address is in every set
}

// passes goes through the rules as the kernel does.
func passes(rules []Rule, p packet) bool {
	mark, to := Mark(0), netip.MustParseAddr(p.to)
	for _, r := range rules {
		switch {
		case r.Loopback || r.Established, r.Prefix.IsValid() && !r.Prefix.Contains(to), r.Protocol != 0 && r.Protocol != p.protocol,
			r.Names != "" && !p.named, r.First+r.Last != 0 && (p.port < r.First || p.port > r.Last), r.Class != 0 && r.Class != mark:
			continue
		}
		if r.Action == Classify {
			mark = r.Mark
			continue
		}
		return r.Action == Accept
	}
	return false
}

func TestRules(t *testing.T) {
	for _, tt := range []struct {
		name        string
		allow, deny []string
		p           packet
		want        bool
	}{
		{"nothing", nil, nil, packet{to: "198.51.100.1", protocol: tcp, port: 443}, false},
		{"the name server", nil, nil, packet{to: "10.0.2.3", protocol: udp, port: 53}, true},
		{"another port of it", nil, nil, packet{to: "10.0.2.3", protocol: tcp, port: 80}, false},
		{"the gateway", []string{"@internet", "@lan", "@host"}, nil, packet{to: "10.0.2.2", protocol: tcp, port: 80}, false},
		{"the internet", []string{"@internet"}, nil, packet{to: "198.51.100.1", protocol: udp, port: 123}, true},
		{"not the LAN", []string{"@internet"}, nil, packet{to: "192.168.1.1", protocol: tcp, port: 80}, false},
		{"nor the host", []string{"@internet"}, nil, packet{to: "192.0.2.1", protocol: tcp, port: 80}, false},
		{"nor metadata", []string{"@internet", "@lan", "@host"}, nil, packet{to: "169.254.169.254", protocol: tcp, port: 80}, false},
		{"nor loopback", []string{"@internet", "@lan", "@host"}, nil, packet{to: "127.0.0.1", protocol: tcp, port: 80}, false},
		{"nor IPv4 in IPv6", []string{"@internet"}, nil, packet{to: "64:ff9b::7f00:1", protocol: tcp, port: 80}, false},
		{"the LAN", []string{"@lan:22"}, nil, packet{to: "10.1.2.3", protocol: tcp, port: 22}, true},
		{"not its other ports", []string{"@lan:22"}, nil, packet{to: "10.1.2.3", protocol: tcp, port: 23}, false},
		{"all addresses are not the LAN", []string{"0.0.0.0/0"}, nil, packet{to: "10.1.2.3", protocol: tcp, port: 22}, false},
		{"a prefix of the LAN is", []string{"10.1.0.0/16:22"}, nil, packet{to: "10.1.2.3", protocol: tcp, port: 22}, true},
		{"an address of the host", []string{"192.0.2.1:80"}, nil, packet{to: "192.0.2.1", protocol: tcp, port: 80}, true},
		{"the host", []string{"@host:80"}, nil, packet{to: "192.0.2.1", protocol: tcp, port: 80}, true},
		{"a range", []string{"@internet:8000-8010"}, nil, packet{to: "198.51.100.1", protocol: tcp, port: 8005}, true},
		{"beyond it", []string{"@internet:8000-8010"}, nil, packet{to: "198.51.100.1", protocol: tcp, port: 8011}, false},
		{"by UDP", []string{"udp://198.51.100.1:53"}, nil, packet{to: "198.51.100.1", protocol: udp, port: 53}, true},
		{"not by TCP", []string{"udp://198.51.100.1:53"}, nil, packet{to: "198.51.100.1", protocol: tcp, port: 53}, false},
		{"a ping", []string{"icmp://198.51.100.1"}, nil, packet{to: "198.51.100.1", protocol: icmp, port: 0}, true},
		{"an exception", []string{"@internet"}, []string{"198.51.100.0/24"}, packet{to: "198.51.100.1", protocol: tcp, port: 80}, false},
		{"IPv6", []string{"[2001:db8::]/32:80"}, nil, packet{to: "2001:db8::1", protocol: tcp, port: 80}, true},
		{"another network of it", []string{"[2001:db8::]/32:80"}, nil, packet{to: "2001:db9::1", protocol: tcp, port: 80}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := passes(rules(t, tt.allow, tt.deny, usual), tt.p); got != tt.want {
				t.Errorf("%+v passes: %t, want %t", tt.p, got, tt.want)
			}
		})
	}
	for _, tt := range []struct {
		name        string
		allow, deny []string
		p           packet
		want        bool
	}{
		{"a name", []string{"a.example:443"}, nil, packet{"198.51.100.1", tcp, 443, true}, true},
		{"another port", []string{"a.example:443"}, nil, packet{"198.51.100.1", tcp, 80, true}, false},
		{"another address", []string{"a.example:443"}, nil, packet{"198.51.100.1", tcp, 443, false}, false},
		{"of the LAN", []string{"a.example"}, nil, packet{"192.168.1.1", tcp, 443, true}, false},
		{"of the LAN, meant so", []string{"@lan/a.example"}, nil, packet{"192.168.1.1", tcp, 443, true}, true},
		{"QUIC", []string{"a.example"}, nil, packet{"198.51.100.1", udp, 443, true}, false},
		{"other UDP", []string{"a.example"}, nil, packet{"198.51.100.1", udp, 444, true}, true},
		{"a ping by name", []string{"a.example"}, nil, packet{"198.51.100.1", icmp, 0, true}, true},
		{"a range with QUIC in it", []string{"udp://a.example:400-500"}, nil, packet{"198.51.100.1", udp, 442, true}, true},
		{"denied by name", []string{"@internet"}, []string{"a.example"}, packet{"198.51.100.1", tcp, 80, true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := usual
			s.Named = true
			if got := passes(rules(t, tt.allow, tt.deny, s), tt.p); got != tt.want {
				t.Errorf("%+v passes: %t, want %t", tt.p, got, tt.want)
			}
		})
	}
	r, err := policy.Parse("example.org")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rules(policy.New([]policy.Rule{r}, nil), usual); err == nil || err.Error() != "the rule example.org is about a name" {
		t.Errorf("a rule by name: %v", err)
	}
}

// TestKernel: the kernel takes the batch, and nft(8) reads it as it was meant.
func TestKernel(t *testing.T) {
	if os.Getenv("SBX_TEST_NFT") == "" {
		sbxtest.Require(t, sbxtest.UserNS)
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKernel$", "-test.v")
		cmd.Env = append(os.Environ(), "SBX_TEST_NFT=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), "no nf_tables") {
			sbxtest.Require(t, sbxtest.Missing("nf_tables", "the kernel has none"))
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	runtime.LockOSThread()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal("no nf_tables", err)
	}
	defer unix.Close(fd)
	named := usual
	named.Named = true
	all := rules(t, []string{"@internet:8000-8010", "udp://198.51.100.1:53", "[2001:db8::]/32:80", "icmp://192.0.2.9", "*.a.example:80"}, []string{"198.51.100.0/24", "@lan"}, named)
	send(t, fd, Batch(all), true)
	send(t, fd, Tell(), true)
	send(t, fd, Limit(1<<20), true)
	members := parsed(t, "udp://db:53", "@members", "10.89.0.0/24:80")
	send(t, fd, BatchOf("eth0", Members("eth0", members)), true)
	send(t, fd, TellOf("eth0"), true)
	send(t, fd, FillOf("eth0", crowd(500)), true)
	send(t, fd, FillOf("eth0", crowd(500)), true) // the same again
	hold(t, 500)
	send(t, fd, FillOf("eth0", crowd(3)), true)
	hold(t, 3)
	send(t, fd, FillOf("eth0", []Set{{Names: "db"}, {Names: "@members"}}), true)
	hold(t, 0)
	four, six := netip.MustParseAddr("10.89.0.2"), netip.MustParseAddr("fd53::2")
	send(t, fd, Sources(), true)
	send(t, fd, AddSource(7, four, six), true)
	send(t, fd, AddSource(8, netip.MustParseAddr("10.89.0.3")), true)
	send(t, fd, DropSource(8, netip.MustParseAddr("10.89.0.3")), true)
	send(t, fd, Redirect([]netip.Prefix{netip.MustParsePrefix("192.0.2.53/32")}), false)
	send(t, fd, Replace(append(all, rules(t, []string{"b.example"}, nil, named)...)), true)
	for _, a := range []string{"198.51.100.7", "2001:db8::7", "198.51.100.7"} {
		send(t, fd, Add([]string{"*.a.example", "b.example"}, netip.MustParseAddr(a)), true)
	}
	out, err := listed("inet", "sbx")
	if err != nil {
		t.Logf("what it made of it is not looked at: %v", err)
		return
	}
	for _, want := range []string{
		"type filter hook output priority 0; policy drop;", "meta l4proto 6 reject with tcp reset", `oif "lo" accept`, "ct state 0x2,0x4 ct direction 1 accept",
		"icmpv6 type 133-137 accept", "ip daddr 10.0.2.3 udp dport 53 accept", "ip daddr 10.0.2.0/24 goto refuse",
		"ip daddr 10.0.0.0/8 meta mark set 0x00000002", "ip daddr 198.51.100.0/24 goto refuse",
		"tcp dport 8000-8010 meta mark 0x00000001 accept", "ip6 daddr 2001:db8::/32", "goto refuse",
		"ip daddr @4.*.a.example tcp dport 80", "ip6 daddr @6.b.example", "elements = { 198.51.100.7 }", "elements = { 2001:db8::7 }",
		"log group 1", `iif != "lo" limit rate over 1 mbytes/second`, "type nat hook output priority -100", "ip daddr 192.0.2.53 accept", "udp dport 53 redirect",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// crowd is sets of a network with n members: all of them, and one.
func crowd(n int) []Set {
	all := Set{Names: "@members"}
	for i := 2; i < n+2; i++ {
		all.Addresses = append(all.Addresses, netip.AddrFrom4([4]byte{10, 89, byte(i >> 8), byte(i)}), netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x53, 14: byte(i >> 8), 15: byte(i)}))
	}
	return []Set{{Names: "db", Addresses: all.Addresses[:2]}, all}
}

// hold fails the test unless the sets of all members have n addresses each, as far as
// nft(8) is there to say.
func hold(t *testing.T, n int) {
	t.Helper()
	out, err := listed("inet", "eth0")
	if err != nil {
		return
	}
	for _, set := range []string{"set 4.@members {", "set 6.@members {"} {
		_, text, there := strings.Cut(out, set)
		text, _, _ = strings.Cut(text, "}\n\n")
		_, elements, _ := strings.Cut(text, "elements = {")
		if got := len(strings.Fields(strings.Trim(elements, "} \t\n"))); !there || got != n {
			t.Errorf("%s: %d addresses, want %d\n%s", set, got, n, text)
		}
	}
}

// listed is a table as nft(8) reads it.
func listed(family, table string) (string, error) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		nft = "/usr/sbin/nft"
	}
	out, err := exec.Command(nft, "-n", "list", "table", family, table).CombinedOutput()
	return string(out), err
}

// send sends messages, and fails the test if the kernel refuses one. The last of
// some is answered in any case.
func send(t *testing.T, fd int, messages []byte, answered bool) {
	t.Helper()
	if err := unix.Sendto(fd, messages, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
	if err == unix.EAGAIN && !answered {
		return
	}
	if err != nil || n < 20 {
		t.Fatal(n, err)
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[16:])); errno != 0 {
		t.Fatalf("the kernel refuses message %d: %v", binary.NativeEndian.Uint32(answer[28:]), unix.Errno(errno))
	}
}

// FuzzMessages: whatever the kernel says, reading it ends, and no packet is longer
// than what came.
func FuzzMessages(f *testing.F) {
	message := func(kind uint16, body ...byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		return append(append(b, make([]byte, 10)...), body...)
	}
	f.Add(message(2, 0xff, 0xff, 0xff, 0xff))
	f.Add(message(2, 0, 0, 0, 0))
	f.Add(message(logSubsystem<<8, append([]byte{inet, 0, 0, 1}, attr(attrPayload, make([]byte, 40))...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		size := 0
		for _, p := range Packets(b) {
			size += len(p)
		}
		if answered, errno := Answers(b); size > len(b) || errno != 0 && !answered {
			t.Errorf("%d bytes of %d, %t, %d", size, len(b), answered, errno)
		}
	})
}
