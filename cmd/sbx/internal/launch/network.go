package launch

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/nets"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/slirp"
)

// blockedWait is how long a line about what is denied waits for somebody to read
// standard error; the sandbox is not looked after meanwhile.
const blockedWait = 100 * time.Millisecond

// during prints a line while the command runs, and says whether somebody reads
// standard error. raw says that the terminal passes text through as it is.
func during(inv *decision.Run, text string, raw bool) bool {
	if !inv.Taken(blockedWait) {
		return false
	}
	line := fmt.Sprintf("%s %s\n", screen.Paint(inv.Err, screen.Yellow, "sbx:"), screen.Printable(text))
	if raw { // what the command wrote last may not have ended its line
		line = "\r\n" + strings.TrimSuffix(line, "\n") + "\r\n"
	}
	fmt.Fprint(inv.Err, line)
	return true
}

// networkEvents prints what the network's program says while the command runs.
func networkEvents(inv *decision.Run, p *sandbox.Plan) func(slirp.Event, bool) {
	return func(e slirp.Event, raw bool) {
		if e.Event == slirp.EventSummary {
			inv.Denied = append(inv.Denied, e.Denied...)
		}
		if text := networkText(e, p); text != "" && (!inv.Silent || e.Event == slirp.EventAsk) {
			during(inv, text, raw)
		}
	}
}

// networkText is an event as a line for people, "" for none.
func networkText(e slirp.Event, p *sandbox.Plan) string {
	switch e.Event {
	case slirp.EventDenied:
		return nets.DeniedText(e, p)
	case slirp.EventAsk:
		return fmt.Sprintf("the command wants to reach %s (%s); allow it [o]nce, for this [r]un, or [d]eny it? Then Enter:", asked(e), e.Reason)
	case slirp.EventSummary:
		return summaryText(e)
	case slirp.EventPublished:
		return publishedText(e, p)
	case slirp.EventLimit:
		return "warning: network: " + e.Message
	case slirp.EventError:
		return "warning: the network is gone, and the command goes on without one: " + e.Message
	}
	return ""
}

// asked is what a question is about: a name is looked up to be connected to.
func asked(e slirp.Event) string {
	if e.Protocol == "dns" {
		return e.Name
	}
	return nets.Destination(e)
}

// summaryLines is how many destinations a summary names.
const summaryLines = 8

// summaryText is what was denied in all.
func summaryText(e slirp.Event) string {
	if len(e.Denied) == 0 {
		return ""
	}
	list := slices.Clone(e.Denied)
	slices.SortStableFunc(list, func(a, b slirp.Event) int { return b.Count - a.Count })
	total := 0
	var names []string
	for i, d := range list {
		total += max(d.Count, 1)
		if i < summaryLines {
			names = append(names, fmt.Sprintf("%s (%d)", nets.Destination(d), max(d.Count, 1)))
		}
	}
	if more := len(list) - summaryLines; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	times := fmt.Sprintf("%d attempts", total)
	if total == 1 {
		times = "one attempt"
	}
	return fmt.Sprintf("network: %s blocked: %s", times, strings.Join(names, ", "))
}

// publishedText says which port the host chose, where any was asked for.
func publishedText(e slirp.Event, p *sandbox.Plan) string {
	if e.Publish == nil {
		return ""
	}
	picked := slices.ContainsFunc(p.Net.Config.Publish, func(want slirp.Publish) bool {
		return want.HostPort == 0 && want.Port == e.Publish.Port && want.Protocol == e.Publish.Protocol && want.Address == e.Publish.Address
	})
	if !picked && !p.Net.AutoPublish {
		return ""
	}
	return fmt.Sprintf("port %d/%s of the sandbox is published on %s", e.Publish.Port, e.Publish.Protocol, netip.AddrPortFrom(e.Publish.Address, e.Publish.HostPort))
}
