package launch

import (
	"net/netip"
	"testing"

	"github.com/sbx-sandbox/sbx/slirp"
)

// TestSummaryText: what was denied is summed up, the most first, by names that
// say something.
func TestSummaryText(t *testing.T) {
	a := netip.MustParseAddr("203.0.113.1")
	for _, tt := range []struct {
		name   string
		denied []slirp.Event
		want   string
	}{
		{"nothing", nil, ""},
		{"one", []slirp.Event{{Protocol: "tcp", Name: "a.example", Port: 443, Count: 1}}, "network: one attempt blocked: a.example:443 (1)"},
		{
			"several", []slirp.Event{
				{Protocol: "udp", Address: a, Port: 9, Count: 2},
				{Protocol: "icmp", Address: a, Count: 1},
				{Protocol: "dns", Name: "b.example", Count: 3},
				{Protocol: slirp.ProtocolMore, Count: 6000},
			},
			"network: 6006 attempts blocked: other destinations (6000), looking up b.example (3), udp://203.0.113.1:9 (2), ping 203.0.113.1 (1)",
		},
	} {
		if got := summaryText(slirp.Event{Denied: tt.denied}); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
