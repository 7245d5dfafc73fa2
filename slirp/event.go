package slirp

import (
	"net/netip"
	"time"

	"github.com/sbx-sandbox/sbx/slirp/policy"
)

// EventKind is what an Event tells.
type EventKind string

// The kinds of Event.
const (
	// EventReady: the Config was good, every published port listens; the engine
	// waits for the TUN device.
	EventReady EventKind = "ready"
	// EventAttached: the TUN device is in service.
	EventAttached EventKind = "attached"
	// EventPublished: a port listens. HostPort of Publish may have been 0.
	EventPublished EventKind = "published"
	// EventDenied: something was refused. With First it is the first to this
	// destination since the start, to be told at once; others are not sent to
	// FDEvents, but counted for the summary.
	EventDenied EventKind = "denied"
	// EventAllowed is only in the audit, with mode all.
	EventAllowed EventKind = "allowed"
	// EventAsk: a connection waits for an answer (OpAnswer with ID).
	EventAsk EventKind = "ask"
	// EventSummary: the sandbox ended; Denied has each destination once, with
	// its count.
	EventSummary EventKind = "summary"
	// EventLimit: a limit of Config.Limits was met, once for each limit.
	EventLimit EventKind = "limit"
	// EventError: the engine can't go on, or before EventReady: can't start.
	EventError EventKind = "error"
)

// ProtocolMore is the protocol of the denial that stands for all destinations
// beyond those that are counted apart.
const ProtocolMore = "more"

// Event is a line on FDEvents, in the audit file and in the answer to OpLog.
type Event struct {
	Event EventKind `json:"event"`
	Time  time.Time `json:"time"`

	// Of a connection: where it was to go, and by what name the sandbox had
	// resolved that, or asked for in a DNS question or a ClientHello.
	Protocol string     `json:"protocol,omitempty"` // "tcp", "udp", "icmp", "dns", ProtocolMore
	Name     string     `json:"name,omitempty"`
	Address  netip.Addr `json:"address,omitzero"`
	Port     uint16     `json:"port,omitempty"`
	Question string     `json:"question,omitempty"` // of DNS: "A", "TXT"
	// Rule is the text of the rule that decided; empty: none allowed it.
	Rule   string `json:"rule,omitempty"`
	From   string `json:"from,omitempty"`   // where that rule was written
	Reason string `json:"reason,omitempty"` // in words, without a period
	Add    string `json:"add,omitempty"`    // the rule that would allow it; empty: none can
	First  bool   `json:"first,omitempty"`
	Count  int    `json:"count,omitempty"` // of a summary's line: how often

	ID      int64    `json:"id,omitempty"`      // of EventAsk
	Denied  []Event  `json:"denied,omitempty"`  // of EventSummary
	Publish *Publish `json:"publish,omitempty"` // of EventPublished
	Message string   `json:"message,omitempty"` // of EventError and EventLimit
}

// Op is what a Request or a NetworkRequest is about.
type Op string

// The Ops of a Request.
const (
	OpRules    Op = "rules"    // list the rules with their expiry
	OpAllow    Op = "allow"    // add Rule before all others, For a time if not 0
	OpDeny     Op = "deny"     // the same; flows that it forbids end
	OpRemove   Op = "remove"   // take a rule away that OpAllow or OpDeny added, by its text
	OpFlows    Op = "flows"    // list the flows
	OpLog      Op = "log"      // answer with the denials so far; with Follow, and those to come, until the caller closes
	OpAnswer   Op = "answer"   // let the connection of EventAsk ID pass or not, as long as the sandbox runs; with Once, and Allow, only what it is about
	OpPublish  Op = "publish"  // open ports as Publish says
	OpWithdraw Op = "withdraw" // close the port of the sandbox that Publish names
	OpPorts    Op = "ports"    // list the ports that listen, those of ranges one by one
	OpUsage    Op = "usage"    // say what sbx-net itself takes of the host
)

// Request is a line on FDControl.
type Request struct {
	Op      Op            `json:"op"`
	Rule    string        `json:"rule,omitempty"`
	For     time.Duration `json:"for,omitempty"`
	Follow  bool          `json:"follow,omitempty"`
	ID      int64         `json:"id,omitempty"`
	Allow   bool          `json:"allow,omitempty"`
	Once    bool          `json:"once,omitempty"`
	Publish *Publish      `json:"publish,omitempty"`
}

// Response answers a Request.
type Response struct {
	Error   string     `json:"error,omitempty"`
	Rules   []LiveRule `json:"rules,omitempty"`
	Flows   []Flow     `json:"flows,omitempty"`
	Events  []Event    `json:"events,omitempty"`
	Publish []Publish  `json:"publish,omitempty"`
	Usage   *Usage     `json:"usage,omitempty"`
}

// Usage is what sbx-net takes of the host.
type Usage struct {
	Flows       int   `json:"flows"`
	Descriptors int   `json:"descriptors"`
	Goroutines  int   `json:"goroutines"`
	Memory      int64 `json:"memory"` // bytes that the Go runtime has of the system
}

// LiveRule is a rule that is in effect.
type LiveRule struct {
	policy.Rule
	Live    bool      `json:"live,omitempty"` // added while the sandbox ran
	Expires time.Time `json:"expires,omitzero"`
}

// Flow is a connection, or what of UDP looks like one.
type Flow struct {
	Protocol string         `json:"protocol"`
	Source   netip.AddrPort `json:"source"`
	Target   netip.AddrPort `json:"target"`
	Name     string         `json:"name,omitempty"`
	Rule     string         `json:"rule,omitempty"`
	Since    time.Time      `json:"since"`
	Out      int64          `json:"out"` // bytes, from the sandbox
	In       int64          `json:"in"`
	OutRate  int64          `json:"out_rate"` // bytes a second, over the last seconds
	InRate   int64          `json:"in_rate"`
	Inbound  bool           `json:"inbound,omitempty"` // by a published port
}
