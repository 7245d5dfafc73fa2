package profiles

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestProjectFiles(t *testing.T) {
	const text = "version = 1\n"
	dir, env := hostDir(t, map[string]string{
		"home/.config/sbx/profiles/own.toml": text,
		"home/.git/HEAD":                     "",
		"home/loose.toml":                    text,
		"home/dotfiles/.git/HEAD":            "",
		"home/dotfiles/linked.toml":          text,
		"home/repo/.git/HEAD":                "",
		"home/repo/ci/x.toml":                text,
		"home/plain/.sbx.toml":               text,
		"home/plain/open.toml":               text,
		"etc/profiles/sys.toml":              text,
		"cwd/sub/y.toml":                     text,
		"outside.toml":                       text,
	})
	links := map[string]string{
		env.userDir() + "/linked.toml": "../../../dotfiles/linked.toml",
		dir + "/home/innocent.toml":    "repo/ci/x.toml",
	}
	for link, to := range links {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir+"/home/plain/open.toml", 0o666); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		file string
		want bool
	}{
		{"home/.config/sbx/profiles/own.toml", false},
		{"home/.config/sbx/profiles/linked.toml", false},
		{"etc/profiles/sys.toml", false},
		{"home/loose.toml", false},
		{"outside.toml", false},
		{"home/innocent.toml", true},
		{"home/repo/ci/x.toml", true},
		{"home/plain/.sbx.toml", true},
		{"home/plain/open.toml", true},
		{"cwd/sub/y.toml", true},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			p, err := Load(Ref{Path: filepath.Join(dir, test.file)}, env)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(p.ProjectFiles()) > 0; got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	p, err := Load(Ref{Builtin: "open"}, env)
	if err != nil || len(p.ProjectFiles()) > 0 {
		t.Errorf("a built-in is a project's: %v", err)
	}
}

func TestCheckTrust(t *testing.T) {
	dir, env := hostDir(t, map[string]string{
		"cwd/tight.toml":   "version = 1\n[workspace]\naccess = \"ro\"\n",
		"cwd/wide.toml":    "version = 1\nextends = [\"./part.toml\"]\n[mounts]\n\"/k\" = \"~/.ssh\"\n",
		"cwd/part.toml":    "version = 1\n[network]\nmode = \"host\"\n",
		"cwd/it's/.x.toml": "version = 1\n[network]\nmode = \"host\"\n",
		"home/own.toml":    "version = 1\n[network]\nmode = \"host\"\n",
	})
	check := func(file string) error {
		t.Helper()
		p, err := Load(Ref{Path: filepath.Join(dir, file)}, env)
		if err != nil {
			t.Fatal(err)
		}
		return CheckTrust(p, nil, env)
	}
	for _, file := range []string{"cwd/tight.toml", "home/own.toml"} {
		if err := check(file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	err := check("cwd/wide.toml")
	var untrusted *UntrustedError
	if !errors.As(err, &untrusted) {
		t.Fatalf("got %v, want an UntrustedError", err)
	}
	want := `DIR/cwd/wide.toml lies in a project, or others can write it, and asks for more than your own profile grants:
  DIR/cwd/part.toml:3:1: network.mode: "host" where your own profile has "none"
  DIR/cwd/wide.toml:4:1: mounts."/k": shows DIR/home/.ssh read-only
read it, and if you agree run: sbx trust DIR/cwd/wide.toml`
	if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if errors.As(check("cwd/it's/.x.toml"), &untrusted); !strings.HasSuffix(untrusted.Command, `/cwd/it'\''s/.x.toml'`) {
		t.Errorf("command %s", untrusted.Command)
	}

	store := OpenTrust(env)
	p, err := Load(Ref{Path: dir + "/cwd/wide.toml"}, env)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // agreeing twice leaves one entry
		if err := store.Trust(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := check("cwd/wide.toml"); err != nil {
		t.Errorf("after trusting it: %v", err)
	}
	entries, err := store.List()
	if err != nil || len(entries) != 1 || entries[0].Path != dir+"/cwd/wide.toml" || len(entries[0].Files) != 2 {
		t.Errorf("List gives %+v, %v", entries, err)
	}
	for path, perm := range map[string]os.FileMode{store.dir: 0o700, filepath.Join(store.dir, entries[0].Hash): 0o600} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != perm {
			t.Errorf("%s: %v, %v, want %v", path, st.Mode(), err, perm)
		}
	}

	for _, file := range []string{"cwd/part.toml", "cwd/wide.toml"} {
		t.Run("changed "+file, func(t *testing.T) {
			old, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), append(slices.Clone(old), '\n'), 0o600); err != nil {
				t.Fatal(err)
			}
			if check("cwd/wide.toml") == nil {
				t.Error("still trusted")
			}
			if err := os.WriteFile(filepath.Join(dir, file), old, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := check("cwd/wide.toml"); err != nil {
				t.Errorf("changed back: %v", err)
			}
		})
	}
	t.Run("moved", func(t *testing.T) {
		if err := os.CopyFS(dir+"/copy", os.DirFS(dir+"/cwd")); err != nil {
			t.Fatal(err)
		}
		there := env
		there.Cwd = dir + "/copy"
		p, err := Load(Ref{Path: dir + "/copy/wide.toml"}, there)
		if err != nil {
			t.Fatal(err)
		}
		if CheckTrust(p, nil, there) == nil {
			t.Error("a copy elsewhere is trusted")
		}
	})
	if n, err := store.Untrust(dir + "/cwd/wide.toml"); n != 1 || err != nil {
		t.Errorf("Untrust: %d, %v", n, err)
	}
	if check("cwd/wide.toml") == nil {
		t.Error("still trusted after Untrust")
	}
}

func TestBaseIsTheUsersDefault(t *testing.T) {
	dir, env := hostDir(t, map[string]string{
		"home/.config/sbx/profiles/default.toml": "version = 1\n[network]\nmode = \"host\"\n[mounts]\n\"/d\" = \"${WORKSPACE}/../data\"\n[workspace]\npath = \"/elsewhere\"\n",
		"cwd/.sbx.toml":                          "version = 1\nextends = [\"user:default\"]\n",
		"cwd/more.toml":                          "version = 1\nextends = [\"user:default\"]\n[mounts]\n\"/e\" = \"~/e\"\n",
	})
	p, err := Load(Ref{Path: dir + "/cwd/.sbx.toml"}, env)
	if err != nil {
		t.Fatal(err)
	}
	base, err := Base(p, env)
	if err != nil {
		t.Fatal(err)
	}
	if base.Workspace.Path != p.Workspace.Path {
		t.Errorf("the base's workspace is %s, the profile's %s", base.Workspace.Path, p.Workspace.Path)
	}
	// The inherited workspace is not the project's, which is said.
	if got, want := keys(p.Widens(base)), []string{"workspace.path"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTrustStoreRefuses(t *testing.T) {
	dir, env := hostDir(t, map[string]string{"cwd/x.toml": "version = 1\n[network]\nmode = \"host\"\n"})
	p, err := Load(Ref{Path: dir + "/cwd/x.toml"}, env)
	if err != nil {
		t.Fatal(err)
	}
	store := OpenTrust(env)
	if err := store.Trust(p); err != nil {
		t.Fatal(err)
	}
	entry, _ := fingerprint(p)
	file := filepath.Join(store.dir, entry.Hash)
	parent := filepath.Dir(store.dir)
	tests := []struct {
		name     string
		do, undo func() error
		want     string
	}{
		{
			"writable by the group",
			func() error { return os.Chmod(store.dir, 0o770) },
			func() error { return os.Chmod(store.dir, 0o700) },
			"may be written by others, run: chmod go-w " + store.dir,
		},
		{
			"parent writable by all",
			func() error { return os.Chmod(parent, 0o777) },
			func() error { return os.Chmod(parent, 0o700) },
			"may be written by others, run: chmod go-w " + parent,
		},
		{
			"a symbolic link",
			func() error {
				return errors.Join(os.Rename(store.dir, store.dir+".real"), os.Symlink("trust.real", store.dir))
			},
			func() error { return errors.Join(os.Remove(store.dir), os.Rename(store.dir+".real", store.dir)) },
			"is a symbolic link, make it a directory",
		},
		{
			"a file",
			func() error {
				return errors.Join(os.Rename(store.dir, store.dir+".real"), os.WriteFile(store.dir, nil, 0o600))
			},
			func() error { return errors.Join(os.Remove(store.dir), os.Rename(store.dir+".real", store.dir)) },
			"is not a directory, remove it",
		},
		{
			"an entry that others may write",
			func() error { return os.Chmod(file, 0o666) },
			func() error { return os.Chmod(file, 0o600) },
			"may have been written by another user, remove it",
		},
		{
			"an entry that is a link",
			func() error { return errors.Join(os.Rename(file, file+"x"), os.Symlink(file+"x", file)) },
			func() error { return errors.Join(os.Remove(file), os.Rename(file+"x", file)) },
			"too many levels of symbolic links",
		},
		{
			"an entry that is garbage",
			func() error { return os.WriteFile(file, []byte("{"), 0o600) },
			func() error { return store.Trust(p) },
			"unexpected end of JSON input",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.do(); err != nil {
				t.Fatal(err)
			}
			trusted, err := store.Trusted(p)
			if trusted || err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("got %v, %v, want %s", trusted, err, test.want)
			}
			if CheckTrust(p, nil, env) == nil {
				t.Error("CheckTrust lets it pass")
			}
			if err := test.undo(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if trusted, err := store.Trusted(p); !trusted || err != nil {
		t.Errorf("afterwards: %v, %v", trusted, err)
	}
	other := env
	other.UID++
	if _, err := OpenTrust(other).Trusted(p); err == nil || !strings.HasSuffix(err.Error(), "belongs to another user, remove it") {
		t.Errorf("as another user: %v", err)
	}
	// Another path's entry under this profile's name grants nothing.
	if err := os.WriteFile(file, []byte(`{"path":"/other"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if trusted, err := store.Trusted(p); trusted || err != nil {
		t.Errorf("entry of another path: %v, %v", trusted, err)
	}
}

func TestTrustNeedsAFile(t *testing.T) {
	_, env := hostDir(t, nil)
	p, err := Parse("-", []byte("version = 1\n"), env)
	if err != nil {
		t.Fatal(err)
	}
	if err := OpenTrust(env).Trust(p); err == nil {
		t.Error("standard input can be trusted")
	}
	if n, err := OpenTrust(env).Untrust("/nothing"); n != 0 || err != nil {
		t.Errorf("Untrust without a store: %d, %v", n, err)
	}
	if entries, err := OpenTrust(Env{}).List(); len(entries) > 0 || err != nil {
		t.Errorf("List without a home: %v, %v", entries, err)
	}
}

// The current directory may be written with a link in it, and the file
// without.
func TestProjectFilesThroughLinks(t *testing.T) {
	dir, env := hostDir(t, map[string]string{"real/x.toml": "version = 1\n"})
	if err := os.Symlink("real", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	env.Cwd = dir + "/link"
	p, err := Load(Ref{Path: dir + "/real/x.toml"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.ProjectFiles()) != 1 {
		t.Error("a file below the current directory is taken for the user's own")
	}
}

// TestPolicyFile: a policy of system calls in a file of its own counts as a part
// of the profile.
func TestPolicyFile(t *testing.T) {
	const policy = `{"defaultAction": "SCMP_ACT_ALLOW"}`
	dir, env := hostDir(t, map[string]string{
		"cwd/p.toml":     "version = 1\n[security]\nseccomp = \"./calls.json\"\n",
		"cwd/calls.json": policy,
		"home/own.toml":  "version = 1\n[security]\nseccomp = \"./own.json\"\n",
		"home/own.json":  policy,
		"home/led.toml":  "version = 1\n[security]\nseccomp = \"${WORKSPACE}/calls.json\"\n",
		"home/.config/sbx/profiles/same.toml": "version = 1\n[security]\nseccomp = \"" +
			"~/own.json\"\n",
	})
	load := func(file string) *Profile {
		t.Helper()
		p, err := Load(Ref{Path: filepath.Join(dir, file)}, env)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := load("cwd/p.toml")
	if s := p.Security; s.Seccomp != dir+"/cwd/calls.json" || s.SeccompText != policy {
		t.Errorf("policy %q with %q", s.Seccomp, s.SeccompText)
	}
	if again, err := Parse(dir+"/cwd/again.toml", p.TOML(), env); err != nil || again.Security.Seccomp != p.Security.Seccomp || again.Security.SeccompText != policy {
		t.Errorf("rendered and read again: %v", err)
	}
	var untrusted *UntrustedError
	if err := CheckTrust(p, nil, env); !errors.As(err, &untrusted) || len(untrusted.Grants) != 1 || untrusted.Grants[0].Key != "security.seccomp" {
		t.Errorf("a project's policy: %v", err)
	}
	if err := OpenTrust(env).Trust(p); err != nil {
		t.Fatal(err)
	}
	if err := CheckTrust(load("cwd/p.toml"), nil, env); err != nil {
		t.Errorf("after trusting it: %v", err)
	}
	if entries, err := OpenTrust(env).List(); err != nil || len(entries) != 1 || !slices.Contains(entries[0].Files, dir+"/cwd/calls.json") {
		t.Errorf("List gives %+v, %v", entries, err)
	}
	if err := os.WriteFile(dir+"/cwd/calls.json", []byte(policy+" "), 0o600); err != nil {
		t.Fatal(err)
	}
	if CheckTrust(load("cwd/p.toml"), nil, env) == nil {
		t.Error("still trusted with another policy")
	}
	// The person's own profile may not hand the decision to a project unasked.
	if own := load("home/own.toml"); len(own.ProjectFiles()) > 0 || CheckTrust(own, nil, env) != nil {
		t.Errorf("the person's own policy is a project's: %v", own.ProjectFiles())
	}
	led := load("home/led.toml")
	if got := led.ProjectFiles(); !slices.Equal(got, []string{dir + "/cwd/calls.json"}) || CheckTrust(led, nil, env) == nil {
		t.Errorf("a policy that a project can change: %v", got)
	}

	own, same := load("home/own.toml"), load("home/.config/sbx/profiles/same.toml")
	build := parse(t, "")
	for _, test := range []struct {
		name    string
		p, base *Profile
		want    bool
	}{
		{"the same file", same, own, false},
		{"another file", p, own, true},
		{"a file for a built-in", own, build, true},
		{"a built-in for a file", build, own, true},
		{"a file for none", own, parse(t, "security.seccomp = \"unconfined\""), false},
		{"calls for none", parse(t, "security.seccomp_allow = [\"bpf\"]"), parse(t, "security.seccomp = \"unconfined\""), false},
	} {
		grants := keys(test.p.Widens(test.base))
		if got := slices.ContainsFunc(grants, func(k string) bool { return strings.HasPrefix(k, "security.seccomp") }); got != test.want {
			t.Errorf("%s: grants %v", test.name, grants)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "home/own.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if grants := keys(load("home/own.toml").Widens(own)); !slices.Contains(grants, "security.seccomp") {
		t.Errorf("the same file with another text: grants %v", grants)
	}
}
