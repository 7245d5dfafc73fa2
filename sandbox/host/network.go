package host

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Network is what a network of the sandbox's own can be made by. A program that
// is not there is "".
type Network struct {
	Engine      string // sbx-net
	Pasta       string
	Slirp4netns string
	EngineErr   error // why there is no sbx-net
	Tun         error // why the TUN device can't be opened; nil: it can
	// Addresses are the host's, found only for programs that know no rules.
	Addresses []netip.Addr
}

// TunDevice is where the kernel hands out TUN and TAP interfaces (its
// Documentation/networking/tuntap.rst).
const TunDevice = "/dev/net/tun"

// FindNetwork fills in f.Net and f.LowPorts, for those who want such a network by
// a backend: "auto", "engine" or another.
func (f *Facts) FindNetwork(backend string) {
	f.Seen.Spoil("a network was looked for")
	n := &f.Net
	n.Engine, n.EngineErr = Plumbing(f.Exe, "sbx-net")
	n.Pasta, n.Slirp4netns = Program("pasta"), Program("slirp4netns")
	if n.Engine == "" || backend != "auto" && backend != "engine" {
		n.Addresses = addresses()
	}
	f.LowPorts = 1024
	if text, err := readSmall(nil, "/proc/sys/net/ipv4/ip_unprivileged_port_start", 64); err == nil {
		if first, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
			f.LowPorts = first
		}
	}
	fd, err := unix.Open(TunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if n.Tun = err; err == nil {
		unix.Close(fd)
	}
}

// addresses reads the host's addresses from tables that the kernel prints: those
// of IPv4 from its routes, in which each is marked as "host LOCAL".
func addresses() (list []netip.Addr) {
	text, _ := readSmall(nil, "/proc/net/fib_trie", 16<<20) // without one there are none
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if _, addr, ok := strings.Cut(line, "|-- "); ok {
			last = addr
		}
		if a, err := netip.ParseAddr(last); err == nil && strings.HasSuffix(line, "host LOCAL") && !slices.Contains(list, a) && !a.IsLoopback() {
			list = append(list, a)
		}
	}
	text, _ = readSmall(nil, "/proc/net/if_inet6", 1<<20)
	for line := range strings.Lines(text) {
		digits, _, _ := strings.Cut(line, " ")
		b, err := hex.DecodeString(digits)
		if a, ok := netip.AddrFromSlice(b); err == nil && ok && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			list = append(list, a)
		}
	}
	return list
}

// TunFix is what to do about a TUN device that can't be opened.
func TunFix(err error) string {
	const container = "; in a container, pass the device in"
	if err == unix.EACCES || err == unix.EPERM {
		return "an administrator can run: chmod 0666 " + TunDevice + container
	}
	return "an administrator can run: modprobe tun" + container
}

// programDirs are where programs are looked for, PATH aside.
var programDirs = []string{"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin"}

// Program looks for a program where the system keeps its own.
func Program(name string) string {
	for _, dir := range programDirs {
		if path := dir + "/" + name; unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return ""
}

// Routes are the destinations of IPv4 that the host has routes to, but for the
// default.
func Routes() (list []netip.Prefix) {
	text, _ := readSmall(nil, "/proc/net/route", 1<<20) // without one there are none
	for line := range strings.Lines(text) {
		// Interface, destination, gateway, flags, three counters, mask: numbers as
		// the kernel has them in memory.
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		to, err := strconv.ParseUint(f[1], 16, 32)
		mask, err2 := strconv.ParseUint(f[7], 16, 32)
		if err != nil || err2 != nil || mask == 0 {
			continue
		}
		var a [4]byte
		binary.NativeEndian.PutUint32(a[:], uint32(to))
		list = append(list, netip.PrefixFrom(netip.AddrFrom4(a), bits.OnesCount32(uint32(mask))).Masked())
	}
	return list
}
