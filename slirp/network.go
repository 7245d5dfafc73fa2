package slirp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// A named network is a bridge in a network namespace of its own, whose ports are
// its members' interfaces. One process keeps it, its holder, which is started as
//
//	sbx-net network --protocol 1
//
// with these descriptors, by position:
//
//	0  one Network as JSON, then the end of the file
//	2  for what can't be said as an event
//	3  FDListen: a listening unix socket (seqpacket) for NetworkRequests, one
//	   JSON object a message
//	4  FDEvents: a pipe, on which it says that it is ready, or why it can't be
//
// The holder ends with the last connection, and removes the socket's path. A
// connection is the member's place in the network: with its end the member is out.

// FDListen is where the holder of a named network is asked.
const FDListen = 3

// Network is a named network, for its holder.
type Network struct {
	Protocol int          `json:"protocol"`
	Name     string       `json:"name"`
	IPv4     netip.Prefix `json:"ipv4"`
	IPv6     netip.Prefix `json:"ipv6"`
	// Isolated members reach none but those that are called by a name of Hubs.
	Isolated bool     `json:"isolated,omitempty"`
	Hubs     []string `json:"hubs,omitempty"`
	// Socket is the path of the socket. Lock is a file that who is about to connect
	// has locked (flock(2)): the holder does not end meanwhile.
	Socket string `json:"socket"`
	Lock   string `json:"lock"`
}

// Validate reports what is wrong with a Network.
func (n *Network) Validate() error {
	switch {
	case n.Protocol != Protocol:
		return fmt.Errorf("protocol %d: this sbx-net speaks %d; install sbx and its libexec programs of one version", n.Protocol, Protocol)
	case !n.IPv4.IsValid() || !n.IPv4.Addr().Is4() || n.IPv4.Bits() > 29 || n.IPv4 != n.IPv4.Masked():
		return fmt.Errorf("%s is no subnet of IPv4 with room for members", n.IPv4)
	case n.IPv6.IsValid() && (!n.IPv6.Addr().Is6() || n.IPv6.Bits() > 96 || n.IPv6 != n.IPv6.Masked()):
		return fmt.Errorf("%s is no subnet of IPv6 with room for members", n.IPv6)
	case n.Socket == "" || n.Lock == "":
		return errors.New("a network without the paths of its socket and its lock")
	}
	return nil
}

// The Ops of a NetworkRequest.
const (
	// OpJoin asks to become a member. With it come an rtnetlink socket of the member's
	// network namespace, and a socket to which Members are sent, of seqpackets: the
	// answer, and whenever they change. With Rules also a socket of NETLINK_NETFILTER
	// of that namespace.
	OpJoin    Op = "join"
	OpMembers Op = "members" // list them
)

// NetworkRequest is what is asked of the holder.
type NetworkRequest struct {
	Protocol int `json:"protocol"`
	Op       Op  `json:"op"`
	// Name is the sandbox's, for lists. Names are what others may call it.
	Name  string   `json:"name,omitempty"`
	Names []string `json:"names,omitempty"`
	// Device is the interface to be made in its network namespace.
	Device   string `json:"device,omitempty"`
	Isolated bool   `json:"isolated,omitempty"`
	// Rules are those of Config.Members.
	Rules []policy.Rule `json:"rules,omitempty"`
}

// NetworkReply is the holder's answer.
type NetworkReply struct {
	Error   string   `json:"error,omitempty"`
	Members []Member `json:"members,omitempty"` // of join, the member itself
}

// Members are those whom a member can reach, for its name server.
type Members struct {
	Members []Member `json:"members"`
}

// Member is a sandbox in a named network.
type Member struct {
	Name     string     `json:"name"`
	Names    []string   `json:"names"`
	IPv4     netip.Addr `json:"ipv4"`
	IPv6     netip.Addr `json:"ipv6,omitzero"`
	Isolated bool       `json:"isolated,omitempty"`
	Device   string     `json:"device"`
}

// MemberName is the name as which a member is found, "" where a text can't be one:
// a name with a dot in it could be somebody's on the internet.
func MemberName(text string) string {
	name, err := policy.ParseName(text)
	if err != nil || strings.Contains(name, ".") || name == "localhost" {
		return ""
	}
	return name
}

// MemberNames are those of texts that can be one, each once.
func MemberNames(texts ...string) []string {
	var list []string
	for _, text := range texts {
		if name := MemberName(text); name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

func checkNetworks(c *Config) error {
	var errs []error
	for _, n := range c.Networks {
		if n.Name == "" || !n.IPv4.IsValid() {
			errs = append(errs, fmt.Errorf("network %q with the subnet %s", n.Name, n.IPv4))
		}
	}
	for _, r := range c.Members {
		if len(c.Networks) == 0 || !r.Member() && !r.Prefix.IsValid() {
			errs = append(errs, fmt.Errorf("rule %q is about no member of a network", r.Text))
		}
	}
	return errors.Join(errs...)
}

// InNetwork is a named network that a sandbox is in.
type InNetwork struct {
	Name string       `json:"name"`
	IPv4 netip.Prefix `json:"ipv4"`
	IPv6 netip.Prefix `json:"ipv6,omitzero"`
}
