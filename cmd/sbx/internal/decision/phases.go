package decision

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/refusal"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/slirp"
)

// Run is an invocation that decides a sandbox, or several, one after the other.
type Run struct {
	*cli.Invocation
	Called  string        // the profile's name as it is in its file
	Ref     string        // the profile as it was named
	Step    Step          // which sandbox of the run it is
	Shared  string        // the overlay that all phases of the run write to, "" for none
	Sockets host.Passed   // by a service manager
	Joined  *joined       // the sandbox whose network this run's is, nil for none
	Warned  []string      // what was warned of
	Denied  []slirp.Event // what the network denied
	// Refusals are the system calls that the filter of the sandbox which runs has
	// refused, nil where they are not traced; Calls are those of all that ran.
	Refusals *refusal.Log
	Calls    []refusal.Entry
	// Foreseen, if not nil, is told early which program is going to ask the user's
	// systemd for a control group, and which groups are sbx's own and systemd's.
	Foreseen func(helper, own, systemd string)

	again func() (*sandbox.Plan, error) // decides once more, see Again
}

// Step is one sandbox of a run: that of the profile, or of one of its phases.
type Step struct {
	Phase string // "" for the profile's own
	Prof  *profiles.Profile
	Argv  []string // nil for what the profile, or its image, says
	Given bool     // it came from the command line
	Last  bool
	Only  bool // there is no other
}

// Steps are the sandboxes of a run of prof in which argv was given. A profile with
// phases runs them; a command of the command line has the profile's own sandbox
// then, as it is none of theirs, unless --phase says otherwise.
func Steps(o *options.Options, prof *profiles.Profile, argv []string) ([]Step, error) {
	phase := o.Phase
	if v := o.VerbPhase; phase == "" && (slices.Contains(prof.Phases, v) || v == profiles.AllPhases && len(prof.Phases) > 0) {
		phase = v
	}
	names := []string{phase}
	switch {
	case o.Phase != "" && len(prof.Phases) == 0:
		return nil, cli.Usagef("--phase: the profile %s has no phases", prof.Name)
	case phase == profiles.AllPhases, phase == "" && len(argv) == 0 && len(prof.Phases) > 0:
		names = prof.Phases
	case phase == "":
		return []Step{{Prof: prof, Argv: argv, Given: len(argv) > 0, Last: true, Only: true}}, nil
	case !slices.Contains(prof.Phases, phase):
		return nil, cli.Usagef("--phase: no phase %q%s, the profile %s has %s", phase, cli.Meant(phase, prof.Phases), prof.Name, strings.Join(prof.Phases, ", "))
	}
	var list []Step
	for i, name := range names {
		p, err := prof.Phase(name)
		if err != nil {
			return nil, err
		}
		s := Step{Phase: name, Prof: p, Argv: argv, Given: len(argv) > 0, Last: i == len(names)-1, Only: len(names) == 1}
		run := argv
		if len(run) == 0 {
			run = prof.Process.Command
		}
		switch {
		case phase == name && len(argv) > 0:
		case p.OwnCommand():
			s.Argv, s.Given = withArgs(p.Process.Command, run), false
		default:
			s.Argv = run
		}
		list = append(list, s)
	}
	return list, nil
}

// withArgs is a phase's command, with the arguments of the run's where it asks for
// them: all words after the program and its verb.
func withArgs(own, run []string) []string {
	var out []string
	for _, word := range own {
		if word != profiles.ArgsEntry {
			out = append(out, word)
		} else if len(run) > 2 {
			out = append(out, run[2:]...)
		}
	}
	return out
}

// Prepare puts the flags on a step's profile. In a run of several phases those
// about the network are for the phases that have one: a phase without is not
// opened by what another needs.
func (inv *Run) Prepare(s Step, o *options.Options) (*profiles.Profile, *options.Options, error) {
	own := *o
	if !s.Only && s.Prof.Network.Mode == "none" {
		own.Over = slices.DeleteFunc(slices.Clone(o.Over), func(v profiles.Override) bool { return strings.HasPrefix(v.Key, "network.") })
	}
	if o.Online != nil && s.Phase != "" && s.Prof.Network.Own() {
		own.Over = append(slices.Clone(own.Over), o.Online.Over...)
		own.Env = append(slices.Clone(o.Env), o.Online.Env...)
	}
	prof, err := inv.Override(s.Prof, &own)
	inv.Step = s
	return prof, &own, err
}

// maxSecret is the size of the largest secret, in bytes.
const maxSecret = 64 << 10

// secrets reads what the profile hands out, and says from which files. A line's end at
// the end is none of a variable's.
func secrets(p *profiles.Profile, environ []string) (list, files []string, err error) {
	for i, entry := range p.Process.Secrets {
		s := p.Secret(entry)
		value, file, err := readSecret(s, environ)
		if err == nil && s.Variable != "" {
			if value = strings.TrimSuffix(value, "\n"); strings.IndexByte(value, 0) >= 0 {
				err = errors.New("a variable can't hold a NUL byte")
			}
		}
		if err != nil {
			return nil, nil, &resolve.Error{Key: fmt.Sprintf("process.secrets[%d]", i), Msg: "reading the secret " + s.Name, Err: err}
		}
		list, files = append(list, value), append(files, file)
	}
	return list, files, nil
}

// readSecret reads a secret, and says where the file really lies that it came from, ""
// for a variable: links may lead to it, which the plan is to judge.
func readSecret(s profiles.Secret, environ []string) (value, file string, err error) {
	if s.File == "" {
		for _, kv := range environ {
			if value, ok := strings.CutPrefix(kv, s.Env+"="); ok {
				return value, "", nil
			}
		}
		return "", "", fmt.Errorf("the variable %s is not set", s.Env)
	}
	f, err := os.OpenFile(s.File, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hang us
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", "", fmt.Errorf("%s is no regular file", s.File)
	}
	if file, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err != nil {
		return "", "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(text) > maxSecret {
		err = fmt.Errorf("%s is longer than %d bytes", s.File, maxSecret)
	}
	return string(text), file, err
}
