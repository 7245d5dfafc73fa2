// Package attack tries to get out of a sandbox, in every way of the attack
// table that the code so far has an answer to. Each row has a control: the
// same probe succeeds where there is no sbx, or in a sandbox that is weak on
// purpose. A row that could not fail would prove nothing.
package attack

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// row is one way to attack. The strings PROBE, WORK, HOME and VICTIM in
// commands and profiles stand for the world's paths.
type row struct {
	id   string // the attack's number and name
	what string // what is tried

	needs   []sbxtest.Feature
	profile string                             // beyond version = 1; builtin:build is extended
	setup   func(t *testing.T, w *world.World) // before either run

	probe   []string // the attack, run inside
	outside []string // the control's command where it is another one
	// control and want are what the probe says outside and inside. One that
	// begins with ~ is a regular expression.
	control, want string
	code          int // of sbx; most probes report a denial and end well

	after func(t *testing.T, w *world.World) // beyond Intact
	// do replaces all of the above but id, what, needs and setup, for an attack
	// that takes more than one command.
	do func(t *testing.T, w *world.World)
}

// pending are the rows whose defence is not there yet, with what it waits for.
// They run like the others and have to fail: one that holds is to be taken off
// the list.
var pending = map[string]string{}

func rows() []row {
	return slices.Concat(policyRows(), fileRows(), processRows(), keyRows(), namespaceRows(), terminalRows(), limitRows(), groupRows(), projectRows(), filterRows(), gitRows(), triggerRows(), landlockRows(), grantRows(), ownRows(), imageRows(), layerRows(), applyRows(), lifeRows(), copyRows(), closedRows(), laterRows())
}

func TestAttacks(t *testing.T) {
	sbxtest.Leftovers(t)
	seen := map[string]bool{}
	for _, r := range rows() {
		if seen[r.id+r.what] {
			t.Errorf("two rows %s: %s", r.id, r.what)
		}
		seen[r.id+r.what], seen[r.id] = true, true
		t.Run(r.id+"/"+r.what, func(t *testing.T) { r.run(t) })
	}
	for _, c := range contests() {
		seen[c.id] = true
	}
	for id := range pending {
		if !seen[id] {
			t.Errorf("%s is pending and in no row", id)
		}
	}
}

// required are the attacks that this suite is about. It fails when a row is
// lost, so that none can go missing in silence.
var required = []int{1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 48, 49, 52, 53, 54, 55, 59, 60, 61, 62, 63, 64}

func TestRows(t *testing.T) {
	form := regexp.MustCompile(`^R(\d\d)-[a-z0-9-]+$`)
	have := map[string]bool{}
	for _, r := range rows() {
		m := form.FindStringSubmatch(r.id)
		if m == nil {
			t.Errorf("the id %q is not of the form R05-own-policy", r.id)
			continue
		}
		have[m[1]] = true
		if r.what == "" {
			t.Errorf("%s does not say what is tried", r.id)
		}
		if r.do == nil && (r.control == "" || r.want == "" || len(r.probe) == 0) {
			t.Errorf("%s: %s has no probe, no control or no expectation", r.id, r.what)
		}
		if r.do == nil && r.control == r.want {
			t.Errorf("%s: %s expects the same with sbx and without, so it can't fail", r.id, r.what)
		}
	}
	for _, n := range required {
		if id := string([]byte{byte('0' + n/10), byte('0' + n%10)}); !have[id] {
			t.Errorf("no row for attack %s", id)
		}
	}
}

// expander replaces the names of the world's paths.
func expander(w *world.World) *strings.Replacer {
	return strings.NewReplacer("PROBE", w.Probe, "WORK", w.Work, "HOMEDIR", w.Home, "VICTIM", w.Victim, "SBX", w.Sbx)
}

func expand(w *world.World, argv []string) []string {
	r := expander(w)
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = r.Replace(a)
	}
	return out
}

func (r *row) run(t *testing.T) {
	sbxtest.Require(t, r.needs...)
	if why, ok := pending[r.id]; ok && os.Getenv("SBX_PENDING") == "" {
		if !failsAlone(t) {
			t.Errorf("%s holds although it is pending (%s): take it off the list", r.id, why)
		}
		return
	}
	r.try(t)
}

func (r *row) try(t *testing.T) {
	if r.do != nil {
		w := world.New(t)
		if r.setup != nil {
			r.setup(t, w)
		}
		r.do(t, w)
		return
	}
	// Each in a world of its own: the control may well do damage.
	t.Run("control", func(t *testing.T) {
		w := world.New(t)
		if r.setup != nil {
			r.setup(t, w)
		}
		argv := r.outside
		if argv == nil {
			argv = r.probe
		}
		got := w.Run(t, expand(w, argv)...)
		check(t, w, "without sbx", got.Out, r.control)
		if t.Failed() {
			t.Logf("stderr: %s", got.Err)
		}
	})
	w := world.New(t)
	if r.setup != nil {
		r.setup(t, w)
	}
	p := w.Profile(t, expander(w).Replace(r.profile))
	got := w.Run(t, w.Sandboxed(p, expand(w, r.probe)...)...)
	check(t, w, "with sbx", got.Out, r.want)
	if got.Code != r.code {
		t.Errorf("sbx ended with %d, want %d", got.Code, r.code)
	}
	w.Intact(t)
	if r.after != nil {
		r.after(t, w)
	}
	if t.Failed() {
		t.Logf("stderr: %s", got.Err)
	}
}

func check(t *testing.T, w *world.World, where, got, want string) {
	t.Helper()
	want = expander(w).Replace(want)
	if re, ok := strings.CutPrefix(want, "~"); ok {
		if !regexp.MustCompile(re).MatchString(got) {
			t.Errorf("%s the probe says %q, want a match of %q", where, got, re)
		}
		return
	}
	if strings.TrimSuffix(got, "\n") != want {
		t.Errorf("%s the probe says\n%s\nwant\n%s", where, got, want)
	}
}

// failsAlone runs this test in a process of its own, where nothing is pending,
// and says whether it failed.
func failsAlone(t *testing.T) bool {
	t.Helper()
	var pattern []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run", strings.Join(pattern, "/"))
	cmd.Env = append(os.Environ(), "SBX_PENDING=1")
	got := world.Wait(t, cmd)
	if !strings.Contains(got.Out, "--- FAIL: "+t.Name()) && got.Code != 0 {
		t.Errorf("running it alone: %s%s", got.Out, got.Err)
	}
	t.Log(got.Out)
	return got.Code != 0
}
