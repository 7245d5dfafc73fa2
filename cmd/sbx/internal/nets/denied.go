package nets

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp"
)

// DeniedText is the first denial of a destination, and what would allow it. The
// plan may be nil.
func DeniedText(e slirp.Event, p *sandbox.Plan) string {
	s := "blocked " + Destination(e)
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	if e.Rule != "" {
		return s + ": the rule " + e.Rule + " denies it"
	}
	if e.Add == "" {
		return s
	}
	return fmt.Sprintf("%s; to allow it: network.allow = [%q]%s, or --allow %s", s, e.Add, OwnFile(p), e.Add)
}

// OwnFile says in which file of the person's a line goes, "" where there is none.
// The plan may be nil.
func OwnFile(p *sandbox.Plan) string {
	if p == nil || len(p.Files) == 0 {
		return ""
	}
	file := p.Files[len(p.Files)-1]
	if strings.HasPrefix(file, "builtin:") {
		return ""
	}
	return " in " + screen.Near(file)
}

// Destination is where a connection was to go, as people call it.
func Destination(e slirp.Event) string {
	target := e.Name
	switch e.Protocol {
	case "dns":
		return "looking up " + target
	case slirp.ProtocolMore:
		return "other destinations"
	}
	if target == "" {
		target = e.Address.String()
	}
	switch {
	case e.Protocol == "icmp":
		return "ping " + target
	case e.Name == "" && e.Address.IsValid():
		target = netip.AddrPortFrom(e.Address, e.Port).String()
	default:
		target = fmt.Sprintf("%s:%d", target, e.Port)
	}
	if e.Protocol == "udp" {
		return "udp://" + target
	}
	return target
}
