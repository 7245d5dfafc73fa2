// Package slirp is a sandbox's user-mode network as data: what the process that
// makes it, sbx-net, is told, and what that process says in return. It acts on
// nothing; the network itself is slirp/engine.
//
// sbx-net is started as
//
//	sbx-net engine --protocol 1
//
// with these descriptors, by position:
//
//	0  one Config as JSON, then the end of the file
//	2  for what can't be said as an event
//	3  FDLink: a connected unix socket (stream or seqpacket). On it comes one
//	   message with the descriptor of the TUN device (SCM_RIGHTS), and then
//	   Requests of OpAnswer, OpPublish and OpWithdraw, which are not answered. It
//	   stays open as long as the sandbox lives: its end ends sbx-net
//	4  FDEvents: a pipe. sbx-net writes Events to it, one JSON object a line
//	5  FDControl: only if Config.Control is set, a listening unix stream
//	   socket for Requests, one JSON object a line, each answered by one line
//	6  FDMembers, and those after it: for each of Config.Networks a seqpacket
//	   socket, on which come Members. Its end is that of the network
package slirp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// NameServer is where sbx-net answers for names, in the sandbox's own network, if
// another program makes that:
//
//	sbx-net names --protocol 1
//
// has the descriptors of sbx-net engine. The message on FDLink then has four: two
// sockets of NETLINK_NETFILTER, the first for orders, and NameServer's of UDP and
// of TCP, the latter listening.
var NameServer = netip.MustParseAddrPort("127.0.0.1:53")

// Protocol is the version of Config, Event and Request. sbx-net refuses another.
const Protocol = 1

// What sbx-net is, by its first argument.
const (
	ModeEngine  = "engine"
	ModeNames   = "names"   // see NameServer
	ModeForward = "forward" // see Forward
	ModeNetwork = "network" // see Network
)

// Descriptors of sbx-net by position.
const (
	FDLink    = 3
	FDEvents  = 4
	FDControl = 5
	FDMembers = 6
)

// Config is a sandbox's network.
type Config struct {
	Protocol int  `json:"protocol"`
	MTU      int  `json:"mtu"` // of the TUN device, bytes; 0: DefaultMTU
	IPv4     Addr `json:"ipv4"`
	IPv6     Addr `json:"ipv6"`
	// VNetHdr says that the TUN device was made with IFF_VNET_HDR, which lets
	// 64 KiB pass at once. Without it everything works, at a third of the speed.
	VNetHdr bool `json:"vnet_hdr"`

	DNS       DNS           `json:"dns"`
	Policy    policy.Policy `json:"policy"`
	Publish   []Publish     `json:"publish,omitempty"`
	HostPorts []HostPort    `json:"host_ports,omitempty"`

	// Rate and RateIn limit what leaves the sandbox and what enters it, in bytes
	// a second over all flows; 0 is no limit.
	Rate   int64 `json:"rate,omitempty"`
	RateIn int64 `json:"rate_in,omitempty"`

	// Proxy is what connections to the internet go by; the zero Proxy: they go directly.
	Proxy Proxy `json:"proxy,omitzero"`

	Limits  Limits `json:"limits"`
	Audit   Audit  `json:"audit"`
	Control bool   `json:"control,omitempty"` // FDControl is there
	// Networks are the named networks that the sandbox is in besides.
	Networks []InNetwork `json:"networks,omitempty"`
	// Members are the rules of whom it may talk to there, in their order, held by the
	// kernel; what none is about is refused. None: all of them. The message on FDLink
	// then has a second descriptor, a socket of NETLINK_NETFILTER.
	Members []policy.Rule `json:"members,omitempty"`
}

// Addr is what of one version of IP the sandbox has; both zero: it has none of
// that version.
type Addr struct {
	Address netip.Prefix `json:"address"` // the sandbox's own with its subnet: 10.0.2.100/24
	Gateway netip.Addr   `json:"gateway"` // the engine's, in that subnet: 10.0.2.2
}

// Enabled reports whether the sandbox has this version of IP.
func (a Addr) Enabled() bool { return a.Address.IsValid() }

// The network of a sandbox that says nothing else. fd53:6278::/64 is a unique
// local prefix (RFC 4193) that is the same in every sandbox: nothing outside
// ever sees it.
const DefaultMTU = 1500

// Default4 and Default6 are the addresses of a sandbox that says nothing else.
var (
	Default4 = Addr{Address: netip.MustParsePrefix("10.0.2.100/24"), Gateway: netip.MustParseAddr("10.0.2.2")}
	Default6 = Addr{Address: netip.MustParsePrefix("fd53:6278::64/64"), Gateway: netip.MustParseAddr("fd53:6278::2")}
)

// HostName is the name of the host inside: it resolves to the gateway, where
// the services of Config.HostPorts and of rules for @host are found.
const HostName = "host.sbx.internal"

// DNS is how names resolve.
type DNS struct {
	// File is the host's resolv.conf, read anew when it changes; empty is
	// /etc/resolv.conf. It is not read if Servers are given.
	File    string           `json:"file,omitempty"`
	Servers []netip.AddrPort `json:"servers,omitempty"`
	// Search are the domains of the sandbox's own resolv.conf. The engine only
	// needs them to say which name somebody meant.
	Search []string `json:"search,omitempty"`
	// Hosts are names with addresses of their own, beside HostName and Hostname.
	Hosts []Host `json:"hosts,omitempty"`
	// Hostname is the sandbox's own name, which resolves to its own addresses.
	Hostname string `json:"hostname,omitempty"`
	// Split sends the questions for a domain and all below it to other servers.
	Split []Split `json:"split,omitempty"`
}

// Host is a name with its addresses.
type Host struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
}

// Split is a domain that other servers know.
type Split struct {
	Domain  string           `json:"domain"`
	Servers []netip.AddrPort `json:"servers"`
}

// Proxy is a proxy of the host's.
type Proxy struct {
	Scheme string   `json:"scheme"` // "http" or "socks5"
	Server string   `json:"server"` // HOST:PORT
	Except []string `json:"except,omitempty"`
	From   string   `json:"from,omitempty"` // where it was named: HTTPS_PROXY
}

// HostPort is a service on the host's loopback that the sandbox reaches at the
// gateway's address.
type HostPort struct {
	Protocol string `json:"protocol"` // "tcp" or "udp"
	Port     uint16 `json:"port"`     // at the gateway
	HostPort uint16 `json:"host_port"`
	From     string `json:"from,omitempty"`
}

// Limits bound what a sandbox takes of the host. Zero is the default.
type Limits struct {
	Flows      int `json:"flows,omitempty"`      // TCP connections at once; 4096
	UDPFlows   int `json:"udp_flows,omitempty"`  // 1024
	Connecting int `json:"connecting,omitempty"` // TCP connections being made; 512
	// Memory is how many bytes of data may be under way inside the engine;
	// 128 MiB. Buffers get smaller as flows get more.
	Memory int64 `json:"memory,omitempty"`
	// UDPIdle is how long a UDP flow without a packet lasts; 60 s.
	UDPIdle time.Duration `json:"udp_idle,omitempty"`
}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&l.Flows, 4096)
	set(&l.UDPFlows, 1024)
	set(&l.Connecting, 512)
	if l.Memory == 0 {
		l.Memory = 128 << 20
	}
	if l.UDPIdle == 0 {
		l.UDPIdle = time.Minute
	}
	return l
}

// Audit is the record of what was allowed and denied, a file of Events.
type Audit struct {
	Mode string `json:"mode,omitempty"` // "off" or empty, "denied", "all"
	// Path is an absolute path; the file is made with mode 0600, or appended to
	// if it is the caller's own regular file.
	Path string `json:"path,omitempty"`
}

// Validate reports all that is wrong with a Config, errors.Join of one each.
func (c *Config) Validate() error {
	var errs []error
	for _, check := range []func(*Config) error{checkProtocol, checkLink, checkDNS, checkPublish, checkHostPorts, checkNetworks, checkAudit, checkAmounts, checkProxy} {
		errs = append(errs, check(c))
	}
	errs = append(errs, c.Policy.Validate())
	return errors.Join(errs...)
}

func checkProtocol(c *Config) error {
	if c.Protocol != Protocol {
		return fmt.Errorf("protocol %d: this sbx-net speaks %d; install sbx and its libexec programs of one version", c.Protocol, Protocol)
	}
	return nil
}

func checkLink(c *Config) error {
	if c.MTU != 0 && (c.MTU < 1280 || c.MTU > 65520) {
		return fmt.Errorf("mtu %d is not between 1280 and 65520", c.MTU)
	}
	if !c.IPv4.Enabled() && !c.IPv6.Enabled() {
		return errors.New("a network needs an IPv4 or an IPv6 address")
	}
	return errors.Join(checkAddr("ipv4", c.IPv4, netip.Addr.Is4), checkAddr("ipv6", c.IPv6, netip.Addr.Is6))
}

func checkAddr(what string, a Addr, version func(netip.Addr) bool) error {
	if !a.Enabled() {
		if a.Gateway.IsValid() {
			return fmt.Errorf("%s: a gateway %s without an address", what, a.Gateway)
		}
		return nil
	}
	own := a.Address.Addr()
	switch {
	case !version(own) || !version(a.Gateway):
		return fmt.Errorf("%s: %s with gateway %s is not of that version", what, a.Address, a.Gateway)
	case !a.Address.Contains(a.Gateway):
		return fmt.Errorf("%s: the gateway %s is not in %s", what, a.Gateway, a.Address.Masked())
	case own == a.Gateway:
		return fmt.Errorf("%s: %s is the gateway's address and the sandbox's", what, own)
	case !own.IsPrivate():
		return fmt.Errorf("%s: %s is not a private address (RFC 1918, RFC 4193)", what, own)
	}
	return nil
}

func checkDNS(c *Config) error {
	var errs []error
	for _, h := range c.DNS.Hosts {
		if _, err := policy.ParseName(h.Name); err != nil {
			errs = append(errs, fmt.Errorf("host %q: %w", h.Name, err))
		}
		if len(h.Addresses) == 0 {
			errs = append(errs, fmt.Errorf("host %q has no address", h.Name))
		}
	}
	for _, s := range c.DNS.Split {
		if _, err := policy.ParseName(s.Domain); err != nil {
			errs = append(errs, fmt.Errorf("split domain %q: %w", s.Domain, err))
		}
		if len(s.Servers) == 0 {
			errs = append(errs, fmt.Errorf("split domain %q has no server", s.Domain))
		}
	}
	return errors.Join(errs...)
}

func checkHostPorts(c *Config) error {
	var errs []error
	for _, p := range c.HostPorts {
		if p.Port == 0 || p.HostPort == 0 || !slices.Contains([]string{"tcp", "udp"}, p.Protocol) {
			errs = append(errs, fmt.Errorf("host port %d:%d/%s: it takes two ports and tcp or udp", p.HostPort, p.Port, p.Protocol))
		}
		if p.Port == 53 {
			errs = append(errs, errors.New("host port 53: that port of the gateway is the sandbox's name server"))
		}
	}
	return errors.Join(errs...)
}

func checkProxy(c *Config) error {
	if p := c.Proxy; p.Scheme+p.Server != "" && (p.Scheme != "http" && p.Scheme != "socks5" || p.Server == "") {
		return fmt.Errorf("proxy %s://%s: it takes http or socks5, and a server", p.Scheme, p.Server)
	}
	return nil
}

func checkAudit(c *Config) error {
	if !slices.Contains([]string{"", "off", "denied", "all"}, c.Audit.Mode) {
		return fmt.Errorf("audit %q: it is off, denied or all", c.Audit.Mode)
	}
	if c.Audit.Mode != "" && c.Audit.Mode != "off" && c.Audit.Path == "" {
		return fmt.Errorf("audit %q without a path", c.Audit.Mode)
	}
	return nil
}

func checkAmounts(c *Config) error {
	l := c.Limits
	if c.Rate < 0 || c.RateIn < 0 || l.Flows < 0 || l.UDPFlows < 0 || l.Connecting < 0 || l.Memory < 0 || l.UDPIdle < 0 {
		return errors.New("rates and limits are not negative")
	}
	if l.Memory != 0 && l.Memory < 8<<20 {
		return fmt.Errorf("limit of memory: %d bytes; the engine needs 8 MiB", l.Memory)
	}
	return nil
}
