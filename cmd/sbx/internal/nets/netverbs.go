// Package nets is about networks: those that sandboxes share, and the rules and
// connections of a sandbox that runs.
package nets

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/slirp"
)

// Requests is a connection to the network's program of a sandbox that runs.
type Requests struct {
	*os.File
	lines *bufio.Scanner
	name  string // the sandbox's
}

// Connect connects to the network's program of the sandbox that is named first.
func Connect(inv *cli.Invocation) (*Requests, error) {
	r, err := sandboxes.One(inv)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(state.Dir(r.ID), state.NetSocketFile)
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("the network of %s takes no orders: that is for sandboxes with network.mode = \"user\" that run detached or were given a name (sbx run -d, --name)", r.Name)
		}
		return nil, fmt.Errorf("asking the network of %s: %w", r.Name, err)
	}
	c := &Requests{File: os.NewFile(uintptr(fd), path), name: r.Name}
	c.lines = bufio.NewScanner(c)
	c.lines.Buffer(nil, 16<<20)
	return c, nil
}

// next reads an answer. It is nil at the end.
func (c *Requests) next() (*slirp.Response, error) {
	if !c.lines.Scan() {
		return nil, c.lines.Err()
	}
	var r slirp.Response
	if err := json.Unmarshal(c.lines.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return &r, nil
}

// patience is how long an answer may take, for which nothing has to be waited for.
const patience = 5 * time.Second

// Ask sends a request and waits for the answer.
func (c *Requests) Ask(r slirp.Request) (*slirp.Response, error) {
	if err := json.NewEncoder(c).Encode(r); err != nil {
		return nil, err
	}
	n, err := 0, error(unix.EINTR)
	for end := time.Now().Add(patience); errors.Is(err, unix.EINTR); {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(c.Fd()), Events: unix.POLLIN}}, int(max(time.Until(end), 0)/time.Millisecond))
	}
	if err == nil && n == 0 {
		return nil, fmt.Errorf("the network of %s gives no answer within %v: the program that makes it (sbx-net) is stopped or too busy; continue it with kill -CONT, or end the sandbox: sbx stop %s", c.name, patience, c.name)
	}
	answer, err := c.next()
	if err == nil && answer == nil {
		err = errors.New("the network has ended")
	}
	return answer, err
}

// NetLsCommand is the verb net ls.
func NetLsCommand() cli.Command {
	return cli.Command{
		Name: "net ls", Args: "[FLAGS] NAME", Summary: "list the rules of a sandbox's network, and its connections",
		Long:    "List the rules that hold for the sandbox NAME, in the order in which they are asked, and the connections that it has.",
		Example: "sbx net ls web\nsbx net ls --format=json web",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return cli.TextOrJSON(fs, 1, netLs)
		},
	}
}

func netLs(inv *cli.Invocation, asJSON bool) error {
	c, err := Connect(inv)
	if err != nil {
		return err
	}
	defer c.Close()
	rules, err := c.Ask(slirp.Request{Op: slirp.OpRules})
	if err != nil {
		return err
	}
	flows, err := c.Ask(slirp.Request{Op: slirp.OpFlows})
	if err != nil {
		return err
	}
	if asJSON {
		return inv.PrintJSON(struct {
			Schema int              `json:"schema"`
			Rules  []slirp.LiveRule `json:"rules"`
			Flows  []slirp.Flow     `json:"flows"`
		}{1, rules.Rules, flows.Flows})
	}
	rows := [][]string{{"RULE", "DESTINATION", "FROM"}}
	for _, r := range rules.Rules {
		verb, note := "deny", r.From
		if r.Allow {
			verb = "allow"
		}
		switch {
		case !r.Expires.IsZero():
			note = "for " + time.Until(r.Expires).Round(time.Second).String()
		case r.Live:
			note = "by sbx net"
		}
		rows = append(rows, []string{verb, r.Text, note})
	}
	if err := inv.Table(rows); err != nil || len(flows.Flows) == 0 {
		return err
	}
	fmt.Fprintln(inv.Out)
	rows = [][]string{{"CONNECTION", "DESTINATION", "OUT", "IN"}}
	for _, f := range flows.Flows {
		rows = append(rows, []string{f.Protocol, flowTarget(f), screen.SizeText(f.Out), screen.SizeText(f.In)})
	}
	return inv.Table(rows)
}

// NetLogCommand is the verb net log.
func NetLogCommand() cli.Command {
	return cli.Command{
		Name: "net log", Args: "[FLAGS] NAME", Summary: "print what a sandbox's network has blocked",
		Long:    "Print each destination that the network of the sandbox NAME has blocked, and what would allow it; with -f also those to come, until the sandbox ends.",
		Example: "sbx net log web\nsbx net log -f --json web",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var follow, asJSON bool
			cli.AddSwitch(fs, &follow, "follow", "f", cli.GroupOutput, "go on until the sandbox ends")
			cli.AddSwitch(fs, &asJSON, "json", "", cli.GroupOutput, "a JSON object a line")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(1); err != nil {
					return err
				}
				return netLog(inv, follow, asJSON)
			}
		},
	}
}

func netLog(inv *cli.Invocation, follow, asJSON bool) error {
	c, err := Connect(inv)
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.Ask(slirp.Request{Op: slirp.OpLog, Follow: follow})
	for err == nil && answer != nil {
		for _, e := range answer.Events {
			if asJSON {
				text, _ := json.Marshal(e) // plain data
				fmt.Fprintf(inv.Out, "%s\n", screen.Escape(text))
			} else if e.Event == slirp.EventDenied {
				times := ""
				if e.Count > 1 {
					times = fmt.Sprintf(" (%d times)", e.Count)
				}
				fmt.Fprintf(inv.Out, "%s %s%s\n", e.Time.Local().Format("15:04:05"), screen.Printable(DeniedText(e, nil)), times)
			}
		}
		if !follow {
			return nil
		}
		answer, err = c.next()
	}
	return err
}

// NetAllowCommand is the verb net allow.
func NetAllowCommand() cli.Command {
	return netRuleCommand(slirp.OpAllow, "let a sandbox that runs talk to somebody")
}

// NetDenyCommand is the verb net deny.
func NetDenyCommand() cli.Command {
	return netRuleCommand(slirp.OpDeny, "forbid a sandbox that runs to talk to somebody")
}

func netRuleCommand(op slirp.Op, summary string) cli.Command {
	verb := "net " + string(op)
	return cli.Command{
		Name: verb, Args: "[FLAGS] NAME RULE...", Summary: summary,
		Long: "Put each RULE before all that hold for the sandbox NAME so far. Connections that it forbids end. A rule is written as for sbx run --allow. " +
			"With --for it is taken back after a while, without it holds as long as the sandbox runs; no profile is changed.",
		Example: "sbx " + verb + " web registry.example.org:443\nsbx " + verb + " --for 10m web @lan:22",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var last time.Duration
			cli.AddFlag(fs, cli.Flag{Name: "for", Arg: "TIME", Group: cli.GroupNetwork, Usage: "take it back after 90s, 10m and so on", Set: func(s string) (err error) {
				if last, err = time.ParseDuration(options.Seconds(s)); err != nil || last <= 0 {
					return fmt.Errorf("%q is not a time, write for example 10m", s)
				}
				return nil
			}})
			return func(inv *cli.Invocation) error {
				return netRules(inv, slirp.Request{Op: op, For: last})
			}
		},
	}
}

// NetRmCommand is the verb net rm.
func NetRmCommand() cli.Command {
	return cli.Command{
		Name: "net rm", Args: "NAME RULE...", Summary: "take back what sbx net allow or sbx net deny has added",
		Long:    "Take back each RULE that was added to the sandbox NAME while it ran, written as it was.",
		Example: "sbx net rm web registry.example.org:443",
		Words:   sandboxes.FirstName,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error { return netRules(inv, slirp.Request{Op: slirp.OpRemove}) }
		},
	}
}

// netRules sends a request for each rule on the command line.
func netRules(inv *cli.Invocation, r slirp.Request) error {
	if len(inv.Args) < 2 {
		return cli.Usagef("which sandbox, and which rule? usage: sbx %s", inv.Verb.Usage())
	}
	c, err := Connect(inv)
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	for _, text := range inv.Args[1:] {
		r.Rule = text
		if _, err := c.Ask(r); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
