package sandboxes

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// inspected is a sandbox as inspect prints it. The names are docker's where it
// has the field.
type inspected struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Profile  string            `json:"profile"`
	Files    []string          `json:"files"`
	Command  []string          `json:"command"`
	Dir      string            `json:"dir"`
	Created  time.Time         `json:"created"`
	State    inspectedState    `json:"state"`
	Restarts int               `json:"restart_count"`
	Labels   map[string]string `json:"labels"`
	Detached bool              `json:"detached"`
	Grants   []state.Grant     `json:"grants"`
	LogPath  string            `json:"log_path,omitempty"`
	// Plan is what the sandbox was built of, without the variables' values; null
	// for one in the foreground without a name.
	Plan json.RawMessage `json:"plan"`
}

type inspectedState struct {
	Status        string    `json:"status"`
	Running       bool      `json:"running"`
	Paused        bool      `json:"paused"`
	Restarting    bool      `json:"restarting"`
	PID           int       `json:"pid"` // the host's, of PID 1 inside
	SupervisorPID int       `json:"supervisor_pid"`
	ExitCode      int       `json:"exit_code"`
	OOMKilled     bool      `json:"oom_killed"`
	Error         string    `json:"error"`
	StartedAt     time.Time `json:"started_at"`
	FinishedAt    time.Time `json:"finished_at"`
	// Health is null where there are no checks.
	Health *state.Health `json:"health"`
}

// InspectCommand is the verb inspect.
func InspectCommand() cli.Command {
	return cli.Command{
		Name: "inspect", Args: "[FLAGS] NAME...", Summary: "print all that is known of sandboxes",
		Long: "Print the records of sandboxes and the plans they were built of as JSON, or fields of them by a template. " +
			"Names of fields are those of the JSON, and case and underscores do not matter.",
		Example: "sbx inspect web\nsbx inspect -f '{{.State.Status}} {{.State.ExitCode}}' web",
		Words:   Names,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var format string
			cli.FormatFlag(fs, &format, "f", "'{{.State.Status}}'")
			return func(inv *cli.Invocation) error {
				if len(inv.Args) == 0 {
					return cli.Usagef("which sandbox? usage: sbx %s", inv.Verb.Usage())
				}
				return printInspected(inv, format)
			}
		},
	}
}

func printInspected(inv *cli.Invocation, format string) error {
	store, err := state.OpenExisting()
	if err != nil {
		return err
	}
	var rows []inspected
	var errs []error
	for _, word := range inv.Args {
		r, err := store.Find(word)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if r.Unrecorded {
			guess(&r)
		}
		rows = append(rows, inspect(&r))
	}
	if format == "" || format == "json" {
		if rows == nil {
			rows = []inspected{}
		}
		return errors.Join(append(errs, inv.PrintJSON(rows))...)
	}
	return errors.Join(append(errs, cli.List(inv, rows, format, nil))...)
}

func inspect(r *state.Record) inspected {
	i := inspected{ID: r.ID, Name: r.Name, Profile: r.Profile, Files: r.Files, Command: r.Command, Dir: r.Dir, Created: r.Created,
		Restarts: r.Restarts, Labels: r.Labels, Detached: r.Detached}
	if i.Labels == nil {
		i.Labels = map[string]string{}
	}
	if i.Grants = r.Grants; i.Grants == nil {
		i.Grants = []state.Grant{}
	}
	i.State = inspectedState{Status: string(r.Status), Running: r.Status == state.Running || r.Status == state.Paused, Paused: r.Status == state.Paused,
		Restarting: r.Status == state.Starting && r.Restarts > 0, PID: r.Init.PID, SupervisorPID: r.Supervisor.PID,
		ExitCode: r.ExitCode, OOMKilled: r.OOMKilled, Error: r.Error, StartedAt: r.Started, FinishedAt: r.Finished, Health: r.Health}
	if log := filepath.Join(state.Dir(r.ID), state.LogFile); r.Detached {
		i.LogPath = log
	}
	text, err := os.ReadFile(filepath.Join(state.Dir(r.ID), state.PlanFile))
	if err == nil && json.Valid(text) {
		i.Plan = text
	}
	return i
}

// PlanOf is what a sandbox was built of. One without a record is asked for it, and r is
// that record then.
func PlanOf(r *state.Record) (*sandbox.Plan, error) {
	if r.Unrecorded { // it may have had a name, and its directory be gone
		summoned, err := state.Summon(r)
		if err != nil {
			return nil, fmt.Errorf("looking for the plan of %s: %w", r.Name, err)
		}
		*r = summoned
	}
	path := filepath.Join(state.Dir(r.ID), state.PlanFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, planError(r, err)
	}
	var plan sandbox.Plan
	if err := json.Unmarshal(text, &plan); err != nil {
		return nil, fmt.Errorf("reading the plan of %s: %s: %w", r.Name, path, err)
	}
	return &plan, nil
}

// planError says why the plan of a sandbox can't be read.
func planError(r *state.Record, err error) error {
	switch {
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("reading the plan of %s: %w", r.Name, err)
	case !r.Detached && r.Name == state.DerivedName(r.ID):
		return fmt.Errorf("the plan of %s is known to who started it alone: it has no name and is not detached; start it with --name, or give it one: sbx rename %s NAME", r.Name, r.Name)
	case r.Status == state.Starting:
		return fmt.Errorf("%s has no plan yet; try again when sbx ps says that it is up", r.Name)
	case r.Detached && r.Alive():
		return fmt.Errorf("the plan of %s is gone: %w; sbx restart %s writes it again", r.Name, err, r.Name)
	}
	return fmt.Errorf("the plan of %s is gone: %w; start it again to have one", r.Name, err)
}
