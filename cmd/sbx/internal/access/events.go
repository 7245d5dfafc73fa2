package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// eventOptions are which events are shown, and how.
type eventOptions struct {
	since, until time.Time
	once         bool
	format       string
	filters      map[string][]func(*state.Event) bool // by key: of one key any holds, of all keys each
}

// EventsCommand is the verb events.
func EventsCommand() cli.Command {
	return cli.Command{
		Name: "events", Args: "[FLAGS]", Summary: "show what happens to sandboxes, as it happens",
		Long: "Print a line for each thing that happens to a sandbox that is detached or has a name: " + strings.Join(actions, ", ") + ". " +
			"With --since also what happened before, as far as it is kept: some 10,000 events, until the host is restarted. " +
			"Filters of one key are alternatives, those of different keys must all hold. A sandbox in the foreground without a name has no events.",
		Example: "sbx events\nsbx events --since 10m --no-stream\nsbx events --filter event=die --format '{{.Name}} {{.Attributes.exit_code}}'",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			o := &eventOptions{filters: map[string][]func(*state.Event) bool{}}
			cli.AddFlag(fs, cli.Flag{Name: "since", Arg: "TIME", Group: cli.GroupOutput, Usage: "from then on: 5m (ago), or 2026-01-02T15:04:05Z", Set: func(s string) (err error) {
				o.since, err = moment(s)
				return err
			}})
			cli.AddFlag(fs, cli.Flag{Name: "until", Arg: "TIME", Group: cli.GroupOutput, Usage: "until then, and no longer; -30s is in half a minute", Set: func(s string) (err error) {
				o.until, err = moment(s)
				return err
			}})
			words := []string{"name=", "id=", "label=", "profile="}
			for _, a := range actions {
				words = append(words, "event="+a)
			}
			cli.AddFlag(fs, cli.Flag{Name: "filter", Short: "f", Arg: "KEY=VALUE", Group: cli.GroupOutput, Usage: "only those that it holds for: event, name, id, profile, label", Words: words, Set: o.addFilter})
			cli.AddSwitch(fs, &o.once, "no-stream", "", cli.GroupOutput, "those that have happened, and no more")
			cli.AddFlag(fs, cli.Flag{Name: "format", Arg: "FORMAT", Group: cli.GroupOutput, Usage: "json, one object a line, or a template such as '{{.Action}} {{.Name}}'", Words: []string{"json", "'{{.Action}} {{.Name}}'"}, Set: func(s string) error {
				if s != "json" {
					if _, err := cli.ParseTemplate(s); err != nil {
						return err
					}
					if !strings.Contains(s, "{{") {
						return fmt.Errorf("%q is neither json nor a template such as '{{.Action}} {{.Name}}'", s)
					}
				}
				o.format = s
				return nil
			}})
			return func(inv *cli.Invocation) error {
				if err := inv.Max(0); err != nil {
					return err
				}
				return events(inv, o)
			}
		},
	}
}

// actions are all there are.
var actions = []string{string(state.ActionStart), string(state.ActionDie), string(state.ActionOOM), string(state.ActionStop), string(state.ActionKill), string(state.ActionRestart),
	string(state.ActionPause), string(state.ActionUnpause), string(state.ActionRename), string(state.ActionExec), string(state.ActionExecDie), string(state.ActionAttach),
	string(state.ActionUpdate), string(state.ActionHealth), string(state.ActionGrant), string(state.ActionRevoke), string(state.ActionRemove)}

// addFilter reads a condition. What docker and podman call by other names is
// understood.
func (o *eventOptions) addFilter(s string) error {
	key, value, ok := strings.Cut(s, "=")
	if !ok || value == "" {
		return fmt.Errorf("%q is not KEY=VALUE, write for example event=die", s)
	}
	var f func(*state.Event) bool
	switch key {
	case "event":
		if value == "destroy" || value == "rm" {
			value = string(state.ActionRemove)
		}
		if !slices.Contains(actions, value) {
			return fmt.Errorf("no event %q%s, use %s", value, cli.Meant(value, actions), strings.Join(actions, ", "))
		}
		f = func(e *state.Event) bool { return string(e.Action) == value }
	case "name", "container":
		key = "name"
		f = func(e *state.Event) bool { return e.Name == value || e.ID == value }
	case "id":
		f = func(e *state.Event) bool { return strings.HasPrefix(e.ID, value) }
	case "profile":
		f = func(e *state.Event) bool { return e.Profile == value }
	case "label":
		name, want, valued := strings.Cut(value, "=")
		f = func(e *state.Event) bool {
			have, ok := e.Labels[name]
			return ok && (!valued || have == want)
		}
	default:
		keys := []string{"event", "name", "id", "profile", "label"}
		return fmt.Errorf("no filter %q%s, use %s", key, cli.Meant(key, keys), strings.Join(keys, ", "))
	}
	o.filters[key] = append(o.filters[key], f)
	return nil
}

// wants says whether an event is to be shown.
func (o *eventOptions) wants(e *state.Event) bool {
	if e.Time.Before(o.since) || !o.until.IsZero() && e.Time.After(o.until) {
		return false
	}
	for _, any := range o.filters {
		if !slices.ContainsFunc(any, func(f func(*state.Event) bool) bool { return f(e) }) {
			return false
		}
	}
	return true
}

func events(inv *cli.Invocation, o *eventOptions) error {
	past := o.once || !o.since.IsZero() || !o.until.IsZero() && o.until.Before(time.Now())
	store, err := state.Open()
	if err != nil {
		return err
	}
	reader, err := store.Events(!past)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		// A supervisor that was killed has said nothing: whoever looks does.
		_, _ = store.List()
		for {
			e, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil && o.wants(&e) {
				err = event(inv, &e, o.format)
			}
			if err != nil {
				return err
			}
		}
		const look = time.Second
		wait := look
		if !o.until.IsZero() {
			wait = min(wait, time.Until(o.until))
		}
		if o.once || wait <= 0 {
			return nil
		}
		if err := reader.Wait(wait); err != nil {
			return err
		}
	}
}

// event prints one.
func event(inv *cli.Invocation, e *state.Event, format string) error {
	switch format {
	case "json":
		text, err := json.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(inv.Out, "%s\n", screen.Escape(text))
		}
		return err
	case "":
	default:
		pieces, err := cli.ParseTemplate(format)
		if err != nil {
			return err
		}
		g, err := cli.Generic(e)
		if err != nil {
			return err
		}
		text, err := cli.Execute(pieces, g)
		if err == nil {
			_, err = fmt.Fprintln(inv.Out, text)
		}
		return err
	}
	more := []string{"name=" + e.Name, "profile=" + e.Profile}
	for key, value := range e.Attributes {
		more = append(more, key+"="+value)
	}
	slices.Sort(more[2:])
	_, err := fmt.Fprintf(inv.Out, "%s %s %s (%s)\n", e.Time.Format(time.RFC3339Nano), e.Action, e.ID, screen.Line(strings.Join(more, ", ")))
	return err
}
