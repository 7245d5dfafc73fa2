package project

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/processes"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// projectStatus is what an editor shows of a project.
type projectStatus struct {
	Schema  int    `json:"schema"`
	Project string `json:"project"`
	File    string `json:"file,omitempty"` // its .sbx.toml
	// Trust is "none" without a file, "trusted" where nothing is to be agreed to,
	// "untrusted", "changed" since it was agreed to, or "invalid".
	Trust   string     `json:"trust"`
	Problem string     `json:"problem,omitempty"` // why it is invalid
	State   string     `json:"state"`             // down, starting, running, paused
	Name    string     `json:"name,omitempty"`    // of the sandbox
	ID      string     `json:"id,omitempty"`
	Profile string     `json:"profile,omitempty"`
	PID     int        `json:"pid,omitempty"` // of its PID 1
	Started *time.Time `json:"started,omitempty"`
	Idle    float64    `json:"idle_seconds,omitempty"` // after which it ends unused; 0 is never
	// Outdated says why nothing more is started in it.
	Outdated string `json:"outdated,omitempty"`
	Inside   bool   `json:"inside"` // this is a sandbox
}

// StatusCommand is the verb status.
func StatusCommand() cli.Command {
	return cli.Command{
		Name: "status", Args: "[FLAGS]", Summary: "say what there is for this directory: profile, trust, sandbox",
		Long: "Print the project's profile, whether it is trusted, and the sandbox that sbx up started. With --watch it is printed anew whenever it changes, " +
			"until sbx is ended; with --json that is a JSON object a line, for editors. Files of the profile that lie elsewhere are looked at every few seconds. " +
			"The exit status is 0 whatever there is.",
		Example: "sbx status\nsbx status --json --watch",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			asJSON, watch := false, false
			cli.AddSwitch(fs, &asJSON, "json", "", cli.GroupOutput, "a JSON object a line")
			cli.AddSwitch(fs, &watch, "watch", "w", cli.GroupOutput, "go on, and print it when it changes")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(0); err != nil {
					return err
				}
				return statusHere(inv, asJSON, watch)
			}
		},
	}
}

func statusHere(inv *cli.Invocation, asJSON, watch bool) error {
	last := ""
	var places []string // that are watched: before they are looked at, or what changes meanwhile is missed
	for {
		env := profiles.HostEnv()
		news, err := lookOut(places)
		if err != nil {
			return err
		}
		s, r, err := statusOf(env)
		gone := false
		if now := statusPlaces(s, env); err == nil && watch && !slices.Equal(now, places) {
			places = now
			news.close()
			continue
		}
		if err == nil {
			var text []byte
			if text, err = json.Marshal(s); err == nil && string(text) != last {
				last = string(text)
				err = printStatus(inv, s, r, text, asJSON)
			}
		}
		if err == nil && watch {
			gone, err = news.await(r)
		}
		news.close()
		if err != nil || gone || !watch {
			return err
		}
	}
}

// statusOf finds out what there is for the current directory.
func statusOf(env profiles.Env) (*projectStatus, *state.Record, error) {
	p, r, err := IsUp(env)
	if err != nil {
		return nil, nil, err
	}
	s := &projectStatus{Schema: 1, Project: p.Dir, File: p.file, State: "down", Inside: cli.InSandbox()}
	s.Trust, s.Problem = trustOf(p, env)
	if r.ID == "" {
		return s, nil, nil
	}
	s.State, s.Name, s.ID, s.Profile, s.PID = string(r.Status), r.Name, r.ID, r.Profile, r.Init.PID
	s.Idle = r.Project.Idle.Seconds()
	s.Outdated = Outdated(p, &r, env)
	if !r.Started.IsZero() {
		s.Started = &r.Started
	}
	return s, &r, nil
}

// trustOf says whether the project's profile may be used as it is.
func trustOf(p Project, env profiles.Env) (trust, problem string) {
	if p.file == "" {
		return "none", ""
	}
	prof, err := profiles.Load(profiles.Ref{Path: p.file}, env)
	if err == nil {
		err = profiles.CheckTrust(prof, nil, env)
	}
	var untrusted *profiles.UntrustedError
	switch {
	case err == nil:
		return "trusted", ""
	case !errors.As(err, &untrusted):
		return "invalid", err.Error()
	}
	entries, _ := profiles.OpenTrust(env).List() // CheckTrust has read the store
	if slices.ContainsFunc(entries, func(e profiles.TrustEntry) bool { return e.Path == p.file }) {
		return "changed", ""
	}
	return "untrusted", ""
}

func printStatus(inv *cli.Invocation, s *projectStatus, r *state.Record, text []byte, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintf(inv.Out, "%s\n", screen.Escape(text))
		return err
	}
	profile := "your default, as the project has none"
	if s.File != "" {
		profile = screen.Near(s.File) + ", " + s.Trust
	}
	if s.Trust == "untrusted" || s.Trust == "changed" {
		profile += "; sbx trust --show lists what it asks for, sbx trust agrees"
	}
	if s.Problem != "" {
		profile += ": " + s.Problem
	}
	box := "down; sbx up starts it"
	if r != nil {
		box = fmt.Sprintf("%s, %s", r.Name, sandboxes.StatusText(r))
		if list, err := processes.List(r.Init.PID); err == nil && len(list) > 2 { // PID 1, and what keeps it there
			box += fmt.Sprintf(", %d processes", len(list)-2)
		}
	}
	if s.Outdated != "" {
		box += ", but " + s.Outdated + ": sbx up --replace starts it anew"
	}
	_, err := fmt.Fprintf(inv.Out, "project   %s\nprofile   %s\nsandbox   %s\n", screen.Printable(s.Project), screen.Printable(profile), screen.Printable(box))
	return err
}

// statusPlaces are the directories in which something changes when the status
// does.
func statusPlaces(s *projectStatus, env profiles.Env) []string {
	if s == nil {
		return nil
	}
	base := state.Base()
	places := []string{s.Project, base, filepath.Join(base, "names"), profiles.OpenTrust(env).Dir()}
	if s.ID != "" {
		places = append(places, state.Dir(s.ID))
	}
	return places
}

// notices tell of changes in directories (inotify(7)).
type notices struct{ fd int }

// lookOut watches directories. One that is not there is passed over.
func lookOut(places []string) (*notices, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching for changes: %w", err)
	}
	for _, dir := range places {
		_, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_CLOSE_WRITE|unix.IN_ATTRIB|unix.IN_DELETE_SELF)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EACCES) {
			unix.Close(fd)
			return nil, fmt.Errorf("watching %s: %w", dir, err)
		}
	}
	return &notices{fd}, nil
}

func (n *notices) close() { unix.Close(n.fd) }

// again is when what no notice may tell of is looked at: profiles elsewhere.
const again = 3 * time.Second

// await waits until something may have changed in one of the directories, or the
// supervisor of r, if not nil, is gone. gone says that nobody reads standard
// output any more.
func (n *notices) await(r *state.Record) (gone bool, err error) {
	fds := []unix.PollFd{{Fd: 1}, {Fd: int32(n.fd), Events: unix.POLLIN}}
	if r != nil {
		if fd, err := r.Supervisor.Open(); err == nil {
			defer unix.Close(fd)
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if _, err := unix.Poll(fds, int(again/time.Millisecond)); err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("watching for changes: %w", err)
	}
	return fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0, nil
}
