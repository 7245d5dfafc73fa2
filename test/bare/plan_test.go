package bare

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestOptIn: a profile that does not allow to do without namespaces is refused,
// and told what to do.
func TestOptIn(t *testing.T) {
	sbxtest.Leftovers(t)
	p := newPerson(t)
	for _, x := range []struct {
		profile string
		want    []string
	}{
		{"", []string{"security.fallback", "no space left on device", "user.max_user_namespaces is 0", "an administrator can run: echo user.max_user_namespaces=15000", `security.fallback = "landlock"`, "a loopback"}},
		{"extends = [\"builtin:strict\"]\n" + fallback, []string{"policy.require[0]: user is required", "uts is required"}},
		{"policy.require = [\"pid\"]\n" + fallback, []string{"policy.require[0]: pid is required and is degraded here"}},
		{"policy.require = [\"mounts\"]\n" + fallback, []string{"mounts is required"}},
		{"root.source = \"/usr\"\n" + fallback, []string{"a directory can't be the root"}},
		{fallback + "landlock = \"off\"\n", []string{`security.landlock = "off"`}},
		{"workspace.hide = [\"probe\"]\n" + fallback, []string{"probe can't be kept from the command"}},
	} {
		got := p.inside(t, x.profile, "touch", "ran")
		if got.Code != 125 || world.Exists(p.Work+"/ran") {
			t.Errorf("profile %q: status %d, the command ran: %v", x.profile, got.Code, world.Exists(p.Work+"/ran"))
		}
		for _, want := range x.want {
			if !strings.Contains(got.Err, want) {
				t.Errorf("profile %q: %q is not in %q", x.profile, want, got.Err)
			}
		}
		// Control: where the host gives namespaces all but the last two are run.
		if free := p.Run(t, p.Sandboxed(p.Profile(t, x.profile), "true")...); free.Code != 0 && !strings.HasPrefix(x.profile, "root") {
			t.Errorf("control: with namespaces, profile %q: status %d, %s", x.profile, free.Code, free.Err)
		}
	}
}

// TestExplain: what is lost is said before anything runs, in the states of the
// features, and once when it runs.
func TestExplain(t *testing.T) {
	sbxtest.Leftovers(t)
	p := newPerson(t)
	file := p.Profile(t, fallback)
	got := p.outside(t, p.Sbx, "explain", "--json", file, "--", "true")
	var x struct{ Plan sandbox.Plan }
	if err := json.Unmarshal([]byte(got.Out), &x); err != nil || got.Code != 0 {
		t.Fatalf("status %d, %v; %s", got.Code, err, got.Err)
	}
	if err := x.Plan.Validate(); err != nil || !x.Plan.Bare.On() {
		t.Errorf("the plan is for a sandbox with namespaces, or not valid: %v", err)
	}
	states := map[string]string{}
	for _, f := range x.Plan.Features {
		states[f.Name] = f.State
	}
	for name, want := range map[string]string{
		"user": "missing", "mounts": "degraded", "pid": "degraded", "ipc": "degraded", "uts": "missing", "cgroup_namespace": "missing",
		"network": "enforced", "capabilities": "enforced", "seccomp": "enforced", "landlock": "enforced", "abstract_sockets": "enforced", "terminal": "enforced",
	} {
		if states[name] != want {
			t.Errorf("%s is %q, want %q", name, states[name], want)
		}
	}
	text := p.outside(t, p.Sbx, "explain", file, "--", "true")
	for _, want := range []string{"this host refuses user namespaces", "files: what Landlock allows", p.Work + "  read, execute, write", "lost without namespaces: a loopback"} {
		if !strings.Contains(text.Out, want) {
			t.Errorf("%q is not in what explain says", want)
		}
	}
	run := p.inside(t, fallback, "true")
	if n := strings.Count(run.Err, "warning: this host refuses user namespaces"); n != 1 || run.Code != 0 {
		t.Errorf("status %d, and it is said %d times: %s", run.Code, n, run.Err)
	}
	// Where the profile does not allow it, explain says so, and where the host
	// gives namespaces, nothing of it.
	if got := p.outside(t, p.Sbx, "explain", p.Profile(t, ""), "--", "true"); got.Code != 0 || !strings.Contains(got.Out, "warning: run would refuse: this host refuses user namespaces") {
		t.Errorf("status %d; %s", got.Code, got.Out)
	}
	if got := p.Run(t, p.Sbx, "explain", p.Profile(t, fallback), "--", "true"); got.Code != 0 || strings.Contains(got.Out, "this host refuses") {
		t.Errorf("control: with namespaces, status %d; %s", got.Code, got.Out)
	}
	if got := p.outside(t, p.Sbx, "doctor"); got.Code != 1 || !strings.Contains(got.Out, "landlock_fallback: Landlock of ABI") || !strings.Contains(got.Out, `set security.fallback = "landlock"`) {
		t.Errorf("doctor: status %d; %s", got.Code, got.Out)
	}
}

// TestHome: the private directory stands in for the home and is gone afterwards,
// whatever was made of it.
func TestHome(t *testing.T) {
	sbxtest.Leftovers(t)
	p := newPerson(t)
	p.Write(t, p.Home+"/data/file", "shared\n")
	p.Write(t, p.Home+"/.gitconfig", "mine\n")
	profile := "home.share = [\"~/.gitconfig\"]\n[mounts.\"~/data\"]\n[environment.set]\nCACHE = \"${HOME}/.cache/x\"\nDATA = \"${HOME}/data\"\n" + fallback
	got := p.inside(t, profile, "sh", "-ec", `cat ~/data/file ~/.gitconfig "$DATA/file"
mkdir -p "$CACHE" "$TMPDIR/ro/deep" ; echo x >"$CACHE/y"; echo x >"$TMPDIR/ro/deep/z"; chmod 0500 "$TMPDIR/ro/deep" "$TMPDIR/ro"
ln -s "$0" "$TMPDIR/link"; echo $HOME
! touch ~/data/new; ! touch "$0/new"`, p.Victim)
	lines := strings.Split(got.Out, "\n")
	if got.Code != 0 || len(lines) != 5 || lines[0] != "shared" || lines[1] != "mine" || lines[2] != "shared" || !strings.HasPrefix(lines[3], p.Home+"/run/sbx-private-") {
		t.Errorf("status %d: %q; %s", got.Code, got.Out, got.Err)
	}
	if names, _ := os.ReadDir(p.Home + "/run"); len(names) > 0 {
		t.Errorf("the runtime directory holds %v", names)
	}
	p.Intact(t)

	// One that is kept.
	kept := "name = \"kept\"\nhome.mode = \"persistent\"\n" + fallback
	for range 2 {
		got = p.inside(t, kept, "sh", "-c", "cat ~/n; echo once >~/n")
	}
	if got.Out != "once\n" {
		t.Errorf("the second time it says %q; %s", got.Out, got.Err)
	}
}

// TestHidden: of a tree that is only read, what the profile hides is left out.
func TestHidden(t *testing.T) {
	sbxtest.Leftovers(t)
	p := newPerson(t)
	p.Write(t, p.Home+"/docs/letter", "letter\n")
	p.Write(t, p.Home+"/.config/app/rc", "rc\n")
	p.Write(t, p.Home+"/.config/gh/hosts.yml", "token\n")
	profile := "extends = [\"builtin:open\"]\n" + fallback
	got := p.inside(t, profile, "sh", "-c", "cat ~/docs/letter ~/.config/app/rc; cat ~/.ssh/id ~/.config/gh/hosts.yml; echo x >~/docs/letter; ls ~/.ssh")
	if got.Out != "letter\nrc\n" || strings.Count(got.Err, "Permission denied") != 4 {
		t.Errorf("inside it says %q, %q", got.Out, got.Err)
	}
	if got := p.outside(t, "cat", p.Home+"/.ssh/id", p.Home+"/.config/gh/hosts.yml"); got.Out != "secrettoken\n" {
		t.Errorf("control: outside it says %q", got.Out)
	}
}

// TestStatus: how the command ended is what sbx ends with.
func TestStatus(t *testing.T) {
	sbxtest.Leftovers(t)
	p := newPerson(t)
	for _, x := range []struct {
		argv []string
		want int
	}{
		{[]string{"sh", "-c", "exit 7"}, 7},
		{[]string{"sh", "-c", "kill -TERM $$"}, 143},
		{[]string{"nowhere-to-be-found"}, 127},
		{[]string{"/etc/passwd"}, 126},
		{[]string{"sh", "-c", "setsid sleep 100 & (sleep 100 &); kill -KILL $PPID; kill -KILL -1; exit 3"}, 3}, // which reaches all that is inside, and neither init nor the host
	} {
		if got := p.inside(t, fallback, x.argv...); got.Code != x.want {
			t.Errorf("%q: status %d, want %d; %s", x.argv, got.Code, x.want, got.Err)
		}
	}
	if got := p.inside(t, "process.timeout = \"300ms\"\nprocess.stop_timeout = \"100ms\"\n"+fallback, "sh", "-c", "trap '' TERM; setsid sleep 100 & sleep 100"); got.Code != 124 {
		t.Errorf("timeout: status %d; %s", got.Code, got.Err)
	}
}
