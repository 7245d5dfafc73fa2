package sandboxes

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/networks"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// row is a sandbox as ps shows it.
type row struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Names    string            `json:"names"` // as docker's templates say
	Profile  string            `json:"profile"`
	Command  string            `json:"command"`
	Argv     []string          `json:"argv"`
	Created  time.Time         `json:"created"`
	State    string            `json:"state"`
	Status   string            `json:"status"`
	ExitCode int               `json:"exit_code"`
	PID      int               `json:"pid"`
	Detached bool              `json:"detached"`
	Dir      string            `json:"dir"`
	Network  string            `json:"network"` // "" where there is no record of it
	Labels   map[string]string `json:"labels"`
	Restarts int               `json:"restarts"`
}

// PsCommand is the verb ps.
func PsCommand() cli.Command {
	return cli.Command{
		Name: "ps", Args: "[FLAGS]", Summary: "list sandboxes",
		Long: "List the sandboxes that run, the newest first; with --all also those that have ended and are kept. " +
			"A filter is name=TEXT, id=PREFIX, status=running|paused|exited|starting, exited=CODE, health=starting|healthy|unhealthy|none, profile=NAME, network=NAME (of a named network, or a sandbox whose network it is) or label=NAME[=VALUE]; several must all hold.",
		Example: "sbx ps\nsbx ps -aq\nsbx ps --filter status=exited --format '{{.Name}} {{.ExitCode}}'",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var all, quiet, noTrunc bool
			var format string
			var filters []func(*state.Record) bool
			last := -1
			cli.AddSwitch(fs, &all, "all", "a", cli.GroupOutput, "those that have ended, too")
			cli.AddSwitch(fs, &quiet, "quiet", "q", cli.GroupOutput, "only the ids")
			cli.AddSwitch(fs, &noTrunc, "no-trunc", "", cli.GroupOutput, "whole command lines")
			cli.AddFlag(fs, cli.Flag{Name: "filter", Short: "f", Arg: "KEY=VALUE", Group: cli.GroupOutput, Usage: "only those that it holds for",
				Words: []string{"name=", "id=", "status=running", "status=exited", "status=paused", "exited=", "health=healthy", "health=unhealthy", "profile=", "network=", "label="}, Set: func(s string) error {
					f, err := parseFilter(s)
					filters = append(filters, f)
					if strings.HasPrefix(s, "status=") || strings.HasPrefix(s, "exited=") {
						all = true
					}
					return err
				}})
			cli.AddFlag(fs, cli.Flag{Name: "last", Short: "n", Arg: "N", Group: cli.GroupOutput, Usage: "only the N newest, ended or not", Set: func(s string) (err error) {
				if last, err = strconv.Atoi(s); err != nil || last < 0 {
					return fmt.Errorf("%q is not a number", s)
				}
				all = true
				return nil
			}})
			cli.FormatFlag(fs, &format, "", "'{{.ID}} {{.Name}}'")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(0); err != nil {
					return err
				}
				if quiet && format != "" {
					return cli.Usagef("--quiet and --format exclude each other")
				}
				return ps(inv, all, quiet, noTrunc, last, format, filters)
			}
		},
	}
}

func ps(inv *cli.Invocation, all, quiet, noTrunc bool, last int, format string, filters []func(*state.Record) bool) error {
	store, err := state.OpenExisting()
	if err != nil {
		return err
	}
	records, broken := store.List()
	if shared, err := Networks(inv); err == nil {
		shared.Sweep() // who looks finds nothing that is dead, as of sandboxes
	}
	var rows []row
	for i := range records {
		r := &records[i]
		if r.Unrecorded {
			guess(r)
		}
		if !all && !r.Alive() || slices.ContainsFunc(filters, func(f func(*state.Record) bool) bool { return !f(r) }) {
			continue
		}
		if last >= 0 && len(rows) == last {
			break
		}
		rows = append(rows, shown(r))
	}
	if quiet {
		for _, r := range rows {
			if _, err := fmt.Fprintln(inv.Out, r.ID); err != nil {
				return err
			}
		}
		return broken
	}
	err = cli.List(inv, rows, format, func(rows []row) [][]string {
		cells := [][]string{{"ID", "NAME", "PROFILE", "COMMAND", "CREATED", "STATUS"}}
		for _, r := range rows {
			command := r.Command
			if !noTrunc {
				command = screen.Cut(command, 30)
			}
			cells = append(cells, []string{r.ID, r.Name, r.Profile, command, screen.Ago(time.Since(r.Created)) + " ago", r.Status})
		}
		return cells
	})
	return errors.Join(err, broken)
}

// Networks is where named networks are kept.
func Networks(inv *cli.Invocation) (networks.Store, error) {
	data, err := inv.DataDir("networks")
	if err != nil {
		return networks.Store{}, err
	}
	return networks.Store{Dir: filepath.Join(data, "networks"), Runtime: state.Base()}, nil
}

func shown(r *state.Record) row {
	labels := r.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return row{ID: r.ID, Name: r.Name, Names: r.Name, Profile: r.Profile, Command: strings.Join(r.Command, " "), Argv: r.Command, Created: r.Created,
		State: string(r.Status), Status: StatusText(r), ExitCode: r.ExitCode, PID: r.Init.PID, Detached: r.Detached, Dir: r.Dir, Network: r.Network, Labels: labels, Restarts: r.Restarts}
}

// guess finds profile and command of a sandbox without a record in the command
// line of its supervisor.
func guess(r *state.Record) {
	words := r.Command
	if len(words) < 2 || words[1] != options.RunVerb {
		if len(words) > 1 && words[1] == "shell" {
			r.Profile = "shell"
		}
		return
	}
	words = words[2:]
	fs := options.RunSet()
	for len(words) > 0 {
		w := words[0]
		if w == "--" {
			r.Profile, r.Command = "default", words[1:]
			return
		}
		if len(w) < 2 || w[0] != '-' {
			break
		}
		if words = words[1:]; cli.ValueFlag(fs, w) != nil && len(words) > 0 {
			words = words[1:]
		}
	}
	if len(words) == 0 {
		r.Profile, r.Command = "default", nil
		return
	}
	r.Profile, r.Command = words[0], words[1:]
	if len(r.Command) > 0 && r.Command[0] == "--" {
		r.Command = r.Command[1:]
	}
}

// StatusText is docker's way to say it.
func StatusText(r *state.Record) string {
	switch r.Status {
	case state.Running:
		up := "Up " + screen.Ago(time.Since(r.Started))
		switch {
		case r.Health == nil:
			return up
		case r.Health.Status == state.HealthStarting:
			return up + " (health: starting)"
		}
		return up + " (" + string(r.Health.Status) + ")"
	case state.Paused:
		return "Up " + screen.Ago(time.Since(r.Started)) + " (Paused)"
	case state.Exited:
		return fmt.Sprintf("Exited (%d) %s ago", r.ExitCode, screen.Ago(time.Since(r.Finished)))
	case state.Starting:
		if r.Restarts > 0 {
			return "Restarting"
		}
	}
	return "Starting"
}

// parseFilter reads a condition of ps.
func parseFilter(s string) (func(*state.Record) bool, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return nil, fmt.Errorf("%q is not KEY=VALUE, write for example name=web", s)
	}
	switch key {
	case "name":
		return func(r *state.Record) bool { return strings.Contains(r.Name, value) }, nil
	case "id":
		return func(r *state.Record) bool { return strings.HasPrefix(r.ID, value) }, nil
	case "status":
		states := []string{"starting", "running", "paused", "exited"}
		if !slices.Contains(states, value) {
			return nil, fmt.Errorf("no status %q%s, use %s", value, cli.Meant(value, states), strings.Join(states, ", "))
		}
		return func(r *state.Record) bool { return string(r.Status) == value }, nil
	case "exited":
		return func(r *state.Record) bool { return !r.Alive() && fmt.Sprint(r.ExitCode) == value }, nil
	case "health":
		states := []string{"starting", "healthy", "unhealthy", "none"}
		if !slices.Contains(states, value) {
			return nil, fmt.Errorf("no health %q%s, use %s", value, cli.Meant(value, states), strings.Join(states, ", "))
		}
		return func(r *state.Record) bool {
			if r.Health == nil || !r.Alive() {
				return value == "none"
			}
			return string(r.Health.Status) == value
		}, nil
	case "profile":
		return func(r *state.Record) bool { return r.Profile == value }, nil
	case "network":
		return func(r *state.Record) bool {
			_, names, _ := strings.Cut(r.Network, ":")
			return r.Network == value || slices.Contains(strings.Split(names, ","), value)
		}, nil
	case "label":
		name, want, valued := strings.Cut(value, "=")
		return func(r *state.Record) bool {
			have, ok := r.Labels[name]
			return ok && (!valued || have == want)
		}, nil
	}
	keys := []string{"name", "id", "status", "exited", "health", "profile", "network", "label"}
	return nil, fmt.Errorf("no filter %q%s, use %s", key, cli.Meant(key, keys), strings.Join(keys, ", "))
}
