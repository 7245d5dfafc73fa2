package dns

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/sbx-sandbox/sbx/slirp"
)

// upstream asks the servers of the host.
type upstream struct {
	file   string
	fixed  []netip.AddrPort
	splits []slirp.Split

	mu      sync.Mutex
	looked  time.Time // when the file was last looked at
	seen    os.FileInfo
	servers []netip.AddrPort
}

// ResolvConf is where a host names its servers (resolv.conf(5)).
const ResolvConf = "/etc/resolv.conf"

// lookAgain is how long a look at the file is good for.
const lookAgain = time.Second

// maxServers is how many servers a resolver asks at most, MAXNS of resolv.h.
const maxServers = 3

func newUpstream(c *slirp.DNS) *upstream {
	u := &upstream{file: c.File, fixed: c.Servers, splits: c.Split}
	if u.file == "" {
		u.file = ResolvConf
	}
	return u
}

// ask sends a new question to one server after the other until one answers.
func (u *upstream) ask(ctx context.Context, name string, kind uint16) (*mdns.Msg, error) {
	var errs []error
	for _, server := range u.serversFor(name) {
		r, err := exchange(ctx, server, name, kind)
		if err == nil && (r.Rcode == mdns.RcodeServerFailure || r.Rcode == mdns.RcodeRefused) {
			errs = append(errs, errors.New(server.String()+" answers "+mdns.RcodeToString[r.Rcode]))
			continue
		}
		if err == nil {
			return r, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return nil, errors.New("none is known")
	}
	return nil, errs[len(errs)-1]
}

// exchange asks one server, by TCP if the answer is too long for UDP.
func exchange(ctx context.Context, server netip.AddrPort, name string, kind uint16) (*mdns.Msg, error) {
	q := new(mdns.Msg)
	q.SetQuestion(mdns.Fqdn(name), kind)
	q.SetEdns0(udpBytes, false)
	for _, network := range []string{"udp", "tcp"} {
		c := mdns.Client{Net: network, Timeout: timeout, UDPSize: udpBytes, Dialer: &net.Dialer{Timeout: timeout}}
		r, _, err := c.ExchangeContext(ctx, q, server.String())
		if err != nil {
			return nil, err
		}
		if len(r.Question) != 1 || !strings.EqualFold(r.Question[0].Name, q.Question[0].Name) || r.Question[0].Qtype != kind {
			return nil, errors.New(server.String() + " answers another question")
		}
		if !r.Truncated {
			return r, nil
		}
	}
	return nil, errors.New(server.String() + " sends half an answer")
}

// serversFor are those for a name: of the longest domain that has its own.
func (u *upstream) serversFor(name string) []netip.AddrPort {
	best := slirp.Split{}
	for _, s := range u.splits {
		d := strings.ToLower(strings.TrimSuffix(s.Domain, "."))
		if (name == d || strings.HasSuffix(name, "."+d)) && len(d) >= len(best.Domain) {
			best = slirp.Split{Domain: d, Servers: s.Servers}
		}
	}
	if best.Servers != nil {
		return best.Servers
	}
	if u.fixed != nil {
		return u.fixed
	}
	return u.current()
}

// current are the servers of the file, which is read again when it changed.
func (u *upstream) current() []netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Since(u.looked) < lookAgain {
		return u.servers
	}
	u.looked = time.Now()
	info, err := os.Stat(u.file)
	if err != nil { // what was good is the best guess while somebody replaces it
		if u.servers == nil {
			u.servers = parseServers(nil)
		}
		return u.servers
	}
	if u.seen != nil && os.SameFile(u.seen, info) && u.seen.ModTime().Equal(info.ModTime()) && u.seen.Size() == info.Size() {
		return u.servers
	}
	text, err := readFile(u.file)
	if err != nil {
		return u.servers
	}
	u.seen, u.servers = info, parseServers(text)
	return u.servers
}

// readFile reads at most what a resolv.conf may hold.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

// parseServers reads the nameserver lines (resolv.conf(5)); without any the
// server is on the local machine.
func parseServers(text []byte) []netip.AddrPort {
	var list []netip.AddrPort
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan() && len(list) < maxServers; {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, 53))
		}
	}
	if list == nil {
		list = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
	}
	return list
}
