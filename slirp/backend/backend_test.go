package backend

import (
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/slirp"
)

func config(t *testing.T, publish ...string) *slirp.Config {
	t.Helper()
	c := &slirp.Config{IPv4: slirp.Default4, IPv6: slirp.Default6}
	for _, text := range publish {
		p, err := slirp.ParsePublish(text)
		if err != nil {
			t.Fatal(err)
		}
		c.Publish = append(c.Publish, p)
	}
	return c
}

var target = Target{PID: 42, Device: "sbx0", Exit: 3, Ready: 4}

// TestClosed: whatever else is asked for, the host's loopback is closed, nothing
// is published that was not asked for, and the program stays in the foreground
// and is confined where it has to be asked for it.
func TestClosed(t *testing.T) {
	for _, resolve := range []bool{false, true} {
		for _, publish := range [][]string{nil, {"80"}, {"80/udp"}} {
			args := Pasta(config(t, publish...), target, resolve)
			for _, want := range []string{"--foreground", "--no-map-gw"} {
				if !slices.Contains(args, want) {
					t.Errorf("pasta %v without %s", args, want)
				}
			}
			for flag, want := range map[string]string{"--tcp-ns": "none", "--udp-ns": "none", "--netns": "/proc/42/ns/net", "--userns": "/proc/42/ns/user"} {
				if i := slices.Index(args, flag); i < 0 || args[i+1] != want {
					t.Errorf("pasta %v: %s is not %s", args, flag, want)
				}
			}
			for _, proto := range []string{"tcp", "udp"} {
				i := slices.Index(args, "--"+proto+"-ports")
				asked := slices.ContainsFunc(publish, func(p string) bool { return strings.HasSuffix(p, "/udp") == (proto == "udp") })
				if i < 0 || (args[i+1] == "none") == asked {
					t.Errorf("pasta %v publishes %s", args, proto)
				}
			}
			if dns := slices.Contains(args, "--dns-forward"); dns != resolve {
				t.Errorf("pasta %v resolves names: %t", args, dns)
			}
		}
		args := Slirp4netns(target, resolve)
		for _, want := range []string{"--disable-host-loopback", "--enable-sandbox", "--enable-seccomp", "--exit-fd=3", "--ready-fd=4"} {
			if !slices.Contains(args, want) {
				t.Errorf("slirp4netns %v without %s", args, want)
			}
		}
		if dns := !slices.Contains(args, "--disable-dns"); dns != resolve {
			t.Errorf("slirp4netns %v resolves names: %t", args, dns)
		}
	}
}

func TestArguments(t *testing.T) {
	c := config(t, "8080:80", "[::1]:5353:53/udp", "127.0.0.2:8000-8001:9000-9001")
	c.IPv6, c.HostPorts = slirp.Addr{}, []slirp.HostPort{{Protocol: "tcp", Port: 5433, HostPort: 5432}}
	const want = "--foreground --quiet --config-net --netns /proc/42/ns/net --userns /proc/42/ns/user --ns-ifname sbx0 --no-map-gw " +
		"--no-dhcp --no-dhcpv6 --no-ra --mtu 65520 --ipv4-only --address 10.0.2.100 --netmask 24 --gateway 10.0.2.2 " +
		"--dns-forward 10.0.2.3 --tcp-ns 5433:5432 --tcp-ports 127.0.0.1/8080:80 --tcp-ports 127.0.0.2/8000-8001:9000-9001 --udp-ns none --udp-ports ::1/5353:53"
	if got := strings.Join(Pasta(c, target, true), " "); got != want {
		t.Errorf("pasta %s\nwant  %s", got, want)
	}
	const slirp = "--configure --mtu=65520 --disable-host-loopback --enable-sandbox --enable-seccomp --exit-fd=3 --ready-fd=4 --disable-dns 42 sbx0"
	if got := strings.Join(Slirp4netns(target, false), " "); got != slirp {
		t.Errorf("slirp4netns %s\nwant        %s", got, slirp)
	}
}
