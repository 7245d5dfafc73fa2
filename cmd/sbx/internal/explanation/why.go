package explanation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/nets"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/refusal"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/slirp"
)

// lastRun is the word for the last run that failed, or was denied something.
const lastRun = "last"

// lastFile is what is kept of it, in sbx's own state directory: what the plan is
// decided from once more when somebody asks, and what the network denied.
const lastFile = "last.json"

// ended is a run that has ended.
type ended struct {
	Schema   int                 `json:"schema"`
	Time     time.Time           `json:"time"`
	Dir      string              `json:"dir"`
	Ref      string              `json:"profile"` // as it was named, "" for the default
	Argv     []string            `json:"argv"`
	Over     []profiles.Override `json:"flags,omitempty"`
	ReadOnly bool                `json:"read_only,omitempty"`
	Phase    string              `json:"phase,omitempty"`
	Status   int                 `json:"status"`
	Denied   []slirp.Event       `json:"denied,omitempty"`
	Calls    []refusal.Entry     `json:"denied_calls,omitempty"`
}

// WhyCommand is the verb why.
func WhyCommand() cli.Command {
	return cli.Command{
		Name: "why", Args: "[FLAGS] NAME|PROFILE|last [PATH|HOST[:PORT]|CALL...]",
		Summary: "say what a sandbox hides or denies, and what would allow it",
		Long: "Say of each PATH whether it can be read or written inside, is hidden or is not on the host either, of each HOST whether the sandbox may talk to it, " +
			"and of each system CALL whether it is refused: by which key of which file and line, and which line of a profile would change that. " +
			"The sandbox is one that runs or has a record, that of a profile, or with last that of the last run that failed or was denied something; " +
			"of those what the network denied is said as well, the system calls that were refused if it was run with --trace-denied, and of the last run the paths of its command line. " +
			"What a process looked for is not recorded, so paths have to be named. A word with a slash, or that begins with ~ or a dot, is a path.",
		Example: "sbx why last\nsbx why build ~/.ssh/config registry.example:443 ptrace",
		Words: func(args []string) []cli.Candidate {
			if len(args) > 0 {
				return []cli.Candidate{{Word: "@file", Doc: ""}}
			}
			return append(append([]cli.Candidate{{Word: lastRun, Doc: "the last run that failed"}}, sandboxes.Names(nil)...), cli.ProfileNames()...)
		},
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			o := &options.Options{}
			cli.AddFlag(fs, cli.Flag{Name: "phase", Arg: "NAME", Group: cli.GroupProfile, Usage: "of this phase of the profile", Words: []string{"@phase"}, Set: func(s string) error { o.Phase = s; return nil }})
			asJSON := false
			addWordJSON(fs, &asJSON)
			return func(inv *cli.Invocation) error { return why(inv, o, asJSON) }
		},
	}
}

func addWordJSON(fs *pflag.FlagSet, into *bool) {
	cli.AddSwitch(fs, into, "json", "", cli.GroupOutput, "one JSON object")
}

// subject is a sandbox that is asked about.
type subject struct {
	plan   *sandbox.Plan
	prof   *profiles.Profile // nil where it can't be read any more
	run    *ended            // nil for none
	denied []slirp.Event
	calls  []refusal.Entry
}

// answer is what is said of one thing.
type answer struct {
	What  string `json:"what"`
	Kind  string `json:"kind"` // "path", "host", "call", "network"
	State string `json:"state"`
	Why   string `json:"why"`
	Key   string `json:"key,omitempty"`
	At    string `json:"at,omitempty"` // file:line, or the flag
	Add   string `json:"add,omitempty"`
}

func why(inv *cli.Invocation, o *options.Options, asJSON bool) error {
	if len(inv.Args) == 0 {
		return cli.Usagef("why what? usage: sbx %s", inv.Verb.Usage())
	}
	s, err := subjectOf(inv, inv.Args[0], o)
	if err != nil {
		return err
	}
	var list []answer
	for _, e := range s.denied {
		list = append(list, s.denial(e))
	}
	for _, e := range s.calls {
		list = append(list, s.refusedCall(e))
	}
	asked := inv.Args[1:]
	if len(asked) == 0 && s.run != nil {
		asked = pathsIn(s.run.Argv)
	}
	for _, word := range asked {
		a, err := s.about(word)
		if err != nil {
			return err
		}
		list = append(list, a)
	}
	if asJSON {
		if list == nil {
			list = []answer{}
		}
		return inv.PrintJSON(struct {
			Schema  int      `json:"schema"`
			Name    string   `json:"name"`
			Run     *ended   `json:"run,omitempty"`
			Answers []answer `json:"answers"`
		}{1, s.plan.Name, s.run, list})
	}
	if r := s.run; r != nil {
		fmt.Fprintf(inv.Out, "%s, %s ago in %s, ended with status %d\n", screen.Printable(cli.Typed(r.Argv)), screen.Ago(time.Since(r.Time)), screen.Printable(screen.Near(r.Dir)), r.Status)
	}
	for _, a := range list {
		fmt.Fprint(inv.Out, a.text())
	}
	if len(list) == 0 {
		fmt.Fprintf(inv.Out, "nothing was denied that sbx knows of; ask about a path, a host or a system call: sbx why %s PATH\n", screen.Printable(inv.Args[0]))
		if c := &s.plan.Security.Seccomp; c.Policy != "unconfined" && !c.Trace {
			fmt.Fprintln(inv.Out, "system calls that the filter refuses are told of under sbx run --trace-denied")
		}
	}
	return nil
}

// text is the answer for people.
func (a answer) text() string {
	s := fmt.Sprintf("%s: %s: %s\n", a.What, a.State, a.Why)
	if a.Key != "" {
		s += "  by " + a.Key
		if a.At != "" {
			s += " (" + a.At + ")"
		}
		s += "\n"
	}
	if a.Add != "" {
		s += "  to allow it: " + a.Add + "\n"
	}
	return screen.Printable(s)
}

// subjectOf finds the sandbox that is asked about.
func subjectOf(inv *cli.Invocation, name string, o *options.Options) (*subject, error) {
	if name == lastRun {
		return lastSubject(inv)
	}
	store, err := state.OpenExisting()
	if err != nil {
		return nil, err
	}
	if r, err := store.Find(name); err == nil {
		return recorded(inv, r)
	}
	prof, err := inv.Load(name)
	if err != nil {
		return nil, fmt.Errorf("no sandbox %q, and %w", name, err)
	}
	return planned(inv, prof, []string{decision.Placeholder}, o)
}

// planned is the sandbox of a profile as it would be now.
func planned(inv *cli.Invocation, prof *profiles.Profile, argv []string, o *options.Options) (*subject, error) {
	o.Explain = true // nothing is made, and no secret read
	list, err := decision.Steps(o, prof, argv)
	if err != nil {
		return nil, err
	}
	plan, err := (&decision.Run{Invocation: inv}).ForeseeStep(list[0], o)
	if err != nil {
		return nil, err
	}
	return &subject{plan: plan, prof: inv.Profile}, nil
}

// recorded is a sandbox that runs, or has ended and has a record.
func recorded(inv *cli.Invocation, r state.Record) (*subject, error) {
	plan, err := sandboxes.PlanOf(&r)
	if err != nil {
		return nil, err
	}
	s := &subject{plan: plan}
	if n := len(r.Files); n > 0 { // for files and lines; the profile may be another by now
		if prof, err := inv.Load(r.Files[n-1]); err == nil {
			if s.prof = prof; s.plan.Phase != "" {
				s.prof, _ = prof.Phase(s.plan.Phase)
			}
		}
	}
	inv.Profile = s.prof
	if r.Alive() && s.plan.Network == sandbox.NetUser {
		inv.Args[0] = r.ID
		if c, err := nets.Connect(inv); err == nil {
			defer c.Close()
			if got, err := c.Ask(slirp.Request{Op: slirp.OpLog}); err == nil {
				s.denied = got.Events
			}
		}
	}
	s.calls, err = refusedIn(&r, s.plan)
	return s, err
}

// lastSubject is the last run that failed or was denied something.
func lastSubject(inv *cli.Invocation) (*subject, error) {
	inv.Env = profiles.HostEnv()
	text, err := os.ReadFile(filepath.Join(inv.XDG("XDG_STATE_HOME", ".local/state"), lastFile))
	var r ended
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("no run has failed yet, and none was denied anything")
	case err != nil:
		return nil, fmt.Errorf("reading what is known of the last run: %w", err)
	}
	if err := unix.Chdir(r.Dir); err != nil {
		return nil, fmt.Errorf("the last run was in %s: %w", r.Dir, err)
	}
	prof, err := inv.Load(r.Ref)
	if err != nil {
		return nil, err
	}
	o := &options.Options{Over: r.Over, ReadOnly: r.ReadOnly, Phase: r.Phase}
	s, err := planned(inv, prof, r.Argv, o)
	if err != nil {
		return nil, err
	}
	s.run, s.denied, s.calls = &r, r.Denied, r.Calls
	return s, nil
}

// Remember keeps what sbx why last asks for. It is no loss when that fails.
func Remember(inv *decision.Run, o *options.Options, status int) {
	dir := inv.XDG("XDG_STATE_HOME", ".local/state")
	if dir == "" || inv.Back != nil || status == 0 && len(inv.Denied) == 0 && !unexpected(inv.Calls) {
		return
	}
	r := ended{Schema: 1, Time: time.Now(), Dir: inv.Env.Cwd, Ref: inv.Ref, Argv: inv.Step.Argv, Over: o.Over, ReadOnly: o.ReadOnly, Phase: inv.Step.Phase, Status: status, Denied: inv.Denied, Calls: inv.Calls}
	text, err := json.Marshal(&r)
	if err != nil || os.MkdirAll(dir, 0o700) != nil {
		return
	}
	tmp, err := os.CreateTemp(dir, lastFile+".")
	if err != nil {
		return
	}
	_, err = tmp.Write(text)
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err != nil || os.Rename(tmp.Name(), filepath.Join(dir, lastFile)) != nil {
		os.Remove(tmp.Name())
	}
}

// maxHints is how many paths are explained at the end of a run.
const maxHints = 3

// Hints says of the paths on the command line of a run that failed what is hidden:
// inside nothing tells that from what is not there.
func Hints(inv *decision.Run, plan *sandbox.Plan, code int) {
	if code == 0 || inv.Silent || plan.Bare.On() || !inv.Step.Given {
		return
	}
	s := &subject{plan: plan, prof: inv.Profile}
	said := 0
	for _, word := range pathsIn(plan.Process.Argv[1:]) {
		a, err := s.about(word)
		if err != nil || a.State != string(resolve.Hidden) || said == maxHints {
			continue
		}
		said++
		line := fmt.Sprintf("%s is hidden inside: %s", a.What, a.Why)
		if a.Key != "" {
			line += " [" + strings.TrimSpace(a.Key+" "+a.At) + "]"
		}
		if a.Add != "" {
			line += "; to show it: " + a.Add
		}
		inv.Lately("%s", line)
	}
}

// pathsIn are the absolute paths among words, those after an "=" as well.
func pathsIn(words []string) []string {
	var list []string
	for _, w := range words {
		if _, value, ok := strings.Cut(w, "="); ok && strings.HasPrefix(w, "-") {
			w = value
		}
		if filepath.IsAbs(w) && !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

// at is where a key was set, "" for nowhere.
func (s *subject) at(key string) string {
	at := cli.Origin(s.prof, key)
	if p := cli.Place(at); p.Line > 0 {
		return screen.Near(p.File) + ":" + strconv.Itoa(p.Line)
	}
	return at
}

// about answers one word.
func (s *subject) about(word string) (answer, error) {
	switch {
	case strings.HasPrefix(word, "~") || strings.HasPrefix(word, "."), strings.Contains(word, "/"):
		return s.path(word)
	}
	if a, err := s.call(word); err == nil || strings.HasPrefix(word, "@") {
		return a, err
	}
	return s.host(word)
}

func (s *subject) path(word string) (answer, error) {
	at := word
	if rest, ok := strings.CutPrefix(word, "~"); ok && (rest == "" || rest[0] == '/') {
		at = s.plan.Caller.Home + rest
	}
	at, err := filepath.Abs(at)
	if err != nil {
		return answer{}, err
	}
	see := resolve.See(s.plan, at, func(p string) bool { _, err := os.Lstat(p); return err == nil })
	a := answer{What: screen.Near(at), Kind: "path", State: string(see.State), Why: see.Why, Key: see.From, At: s.at(see.From), Add: see.Show}
	if a.Add == "" {
		a.Add = see.Write
	}
	return a, nil
}

// security is the profile's part that the policy of system calls comes from;
// without the profile only names are of use.
func (s *subject) security() *profiles.Security {
	if s.prof != nil {
		return &s.prof.Security
	}
	return &profiles.Security{Seccomp: options.Policies[0]}
}

func (s *subject) call(word string) (answer, error) {
	a := answer{What: word, Kind: "call", Key: "security.seccomp", At: s.at("security.seccomp")}
	refused, err := resolve.CallRefused(s.security(), s.plan.Security.Keep, word)
	if err != nil {
		return a, err
	}
	filter := &s.plan.Security.Seccomp
	switch i := slices.Index(filter.Deny, word); {
	case !filter.Filtered():
		a.State, a.Why = "allowed", "there is no filter"
	case strings.HasPrefix(word, "@"):
		a.State, a.Why = "a group", "ask about one of its calls; sbx explain --seccomp prints the policy"
	case i >= 0:
		a.State, a.Why, a.Key = "refused", "it is denied by name", fmt.Sprintf("security.seccomp_deny[%d]", i)
		a.At = s.at(a.Key)
	case refused:
		a.State, a.Why = "refused", "the policy "+filter.Policy+" does not allow it"
		a.Add = refusal.Remedy(filter.Policy, word)
	default:
		a.State, a.Why = "allowed", "by the policy "+filter.Policy+", perhaps not with all arguments"
	}
	return a, nil
}

func (s *subject) host(word string) (answer, error) {
	reach, err := resolve.Ask(s.plan, word)
	if err != nil {
		return answer{}, cli.Usagef("%q is no path (write ./%s), no system call, and no HOST[:PORT]", word, word)
	}
	a := answer{What: word, Kind: "host", State: "denied", Why: reach.Why, Key: reach.From, At: s.at(reach.From), Add: reach.Add}
	if reach.Allowed {
		a.State = "allowed"
	}
	return a, nil
}

// denial is an answer to what the network denied.
func (s *subject) denial(e slirp.Event) answer {
	a := answer{What: nets.Destination(e), Kind: "network", State: "denied", Why: e.Reason, Key: "network.allow"}
	if e.Count > 1 {
		a.State = fmt.Sprintf("denied %d times", e.Count)
	}
	if e.Rule != "" {
		a.Why, a.Key = "the rule "+e.Rule+" denies it", e.From
	} else if e.Add != "" {
		a.Add = fmt.Sprintf("network.allow = [%q]", e.Add)
	}
	if a.At = s.at(a.Key); a.At == "" {
		a.Key = "network.mode"
		a.At = s.at(a.Key)
	}
	return a
}
