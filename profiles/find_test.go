package profiles

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// hostDir makes a home, a system directory and a project, and a caller in it.
func hostDir(t *testing.T, files map[string]string) (string, Env) {
	t.Helper()
	dir := write(t, files)
	for _, sub := range []string{"home", "etc", "cwd"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir, Env{Home: dir + "/home", User: "u", UID: os.Getuid(), GID: os.Getgid(), Cwd: dir + "/cwd", SystemDir: dir + "/etc"}
}

func TestFind(t *testing.T) {
	const text = "version = 1\n"
	dir, env := hostDir(t, map[string]string{
		"home/.config/sbx/profiles/mine.toml": text,
		"home/.config/sbx/profiles/go.toml":   text,
		"home/.config/sbx/profiles/both.toml": text,
		"etc/profiles/both.toml":              text,
		"etc/profiles/theirs.toml":            text,
		".sbx.toml":                           text,
		"cwd/mine":                            text,
		"cwd/here.toml":                       text,
		"cwd/sub/x":                           text,
	})
	tests := []struct{ ref, want string }{
		{"-", "-"},
		{".", "reading profile DIR/cwd/.sbx.toml: no such file or directory"},
		{"..", "DIR/.sbx.toml"},
		{"../", "DIR/.sbx.toml"},
		{"mine", "DIR/home/.config/sbx/profiles/mine.toml"},
		{"both", "DIR/home/.config/sbx/profiles/both.toml"},
		{"theirs", "DIR/etc/profiles/theirs.toml"},
		{"go", "DIR/home/.config/sbx/profiles/go.toml"},
		{"builtin:go", "builtin:go"},
		{"user:go", "DIR/home/.config/sbx/profiles/go.toml"},
		{"strict", "builtin:strict"},
		{"./mine", "DIR/cwd/mine"},
		{"here.toml", "DIR/cwd/here.toml"},
		{"sub/x", "DIR/cwd/sub/x"},
		{"~/.config/sbx/profiles/mine.toml", "DIR/home/.config/sbx/profiles/mine.toml"},
		{"user:theirs", `no profile "user:theirs"; looked in DIR/home/.config/sbx/profiles`},
		{"user:mien", `no profile "user:mien" (did you mean "user:mine"?); looked in DIR/home/.config/sbx/profiles`},
		{"user:../../x", `no profile "user:../../x"; looked in DIR/home/.config/sbx/profiles`},
		{"stirct", `no profile "stirct" (did you mean "strict"?); looked in DIR/home/.config/sbx/profiles, DIR/etc/profiles, the built-in profiles BUILTINS`},
		{"builtin:mine", `no profile "builtin:mine" (did you mean "builtin:make"?); looked in the built-in profiles BUILTINS`},
		{"builtin:../x", `no profile "builtin:../x"; looked in the built-in profiles BUILTINS`},
		{"gone.toml", "reading profile DIR/cwd/gone.toml: no such file or directory"},
		{"", `no profile ""; looked in DIR/home/.config/sbx/profiles, DIR/etc/profiles, the built-in profiles BUILTINS`},
	}
	for _, test := range tests {
		t.Run(test.ref, func(t *testing.T) {
			ref, err := Find(test.ref, env)
			got := ref.String()
			if err != nil {
				got = err.Error()
			}
			got = strings.ReplaceAll(got, dir, "DIR")
			if want := strings.ReplaceAll(test.want, "BUILTINS", strings.Join(builtinNames(), ", ")); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	var names []string
	for _, info := range List(env) {
		names = append(names, info.Name+"="+strings.ReplaceAll(info.Ref.String(), dir, "DIR"))
	}
	for _, want := range []string{"go=DIR/home/.config/sbx/profiles/go.toml", "both=DIR/home/.config/sbx/profiles/both.toml", "rust=builtin:rust"} {
		if !slices.Contains(names, want) {
			t.Errorf("List has no %s: %q", want, names)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("List is not sorted: %q", names)
	}
}

// A file that is there and can't be read must not lead to another profile of
// the same name.
func TestDefault(t *testing.T) {
	const own, theirs = "home/.config/sbx/profiles/default.toml", "etc/profiles/default.toml"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string // below the directory, or a built-in
	}{
		{"none", nil, "builtin:build"},
		{"the user's", map[string]string{own: ""}, own},
		{"the administrator's is not the user's", map[string]string{theirs: ""}, "builtin:build"},
		{"an unreadable one is not passed over", map[string]string{own + "/x": ""}, own},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, env := hostDir(t, tt.files)
			ref, err := Default(env)
			if got := strings.TrimPrefix(ref.String(), dir+"/"); err != nil || got != tt.want {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
	if ref, err := Default(Env{}); err != nil || ref.Builtin != "build" {
		t.Errorf("without a home: %v, %v", ref, err)
	}
}

func TestFindUnreadable(t *testing.T) {
	_, env := hostDir(t, nil)
	if err := os.MkdirAll(env.userDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("strict.toml", env.userDir()+"/strict.toml"); err != nil {
		t.Fatal(err)
	}
	if ref, err := Find("strict", env); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("got %v, %v", ref, err)
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := write(t, map[string]string{"big.toml": "version = 1\n#" + strings.Repeat("x", maxFile)})
	if err := syscall.Mkfifo(dir+"/fifo.toml", 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir + "/none.toml": "no such file or directory",
		dir:                "is a directory",
		dir + "/big.toml":  "larger than 1 MiB, which no profile is",
		dir + "/fifo.toml": "version: missing, write version = 1 at the top of the file",
	} {
		if _, err := Load(Ref{Path: path}, testEnv); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

func TestStdin(t *testing.T) {
	dir, env := hostDir(t, map[string]string{"cwd/base.toml": "version = 1\nprocess.nice = 7\n"})
	env.Stdin = strings.NewReader("version = 1\nextends = [\"./base.toml\"]\nmounts.\"/x\" = \"data\"\n")
	p, err := Load(Ref{Path: "-"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "stdin" || p.Process.Nice != 7 || p.Mounts[0].Source != dir+"/cwd/data" || p.Files[len(p.Files)-1] != "-" {
		t.Errorf("got %+v", p)
	}
	if _, err := Load(Ref{Path: "-"}, Env{}); err == nil {
		t.Error("without standard input: no error")
	}
}

func TestDiscover(t *testing.T) {
	dir, env := hostDir(t, map[string]string{
		"home/.sbx.toml":             "",
		"home/proj/.sbx.toml":        "",
		"home/proj/a/b/c/f":          "",
		"home/other/f":               "",
		"srv/top/.sbx.toml":          "",
		"srv/top/foreign/sub/f":      "",
		"srv/top/foreign/.sbx.toml":  "",
		"srv/top/linked/sub/f":       "",
		"srv/elsewhere/project.toml": "",
		"srv/shared/.sbx.toml":       "",
		"srv/shared/sub/f":           "",
		"srv/given/.sbx.toml":        "",
		"srv/top/given/.sbx.toml":    "",
	})
	if err := os.Symlink("../../elsewhere/project.toml", dir+"/srv/top/linked/.sbx.toml"); err != nil {
		t.Fatal(err)
	}
	foreign, shared, open := dir+"/srv/top/foreign", dir+"/srv/shared", dir+"/home/proj/a/b"
	if err := errors.Join(os.Chmod(shared, 0o777|os.ModeSticky), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, cwd, want string }{
		{"in the project", dir + "/home/proj", dir + "/home/proj/.sbx.toml"},
		{"below the project", dir + "/home/proj/a/b/c", dir + "/home/proj/.sbx.toml"},
		{"home's is not used", dir + "/home/other", ""},
		{"in the home", dir + "/home", ""},
		{"outside the home", dir + "/srv/top", dir + "/srv/top/.sbx.toml"},
		{"a link", dir + "/srv/top/linked/sub", dir + "/srv/top/linked/.sbx.toml"},
		{"a directory for all", shared, shared + "/.sbx.toml"},
		{"below a directory for all", shared + "/sub", shared + "/.sbx.toml"},
		{"a directory for all below the project", open, dir + "/home/proj/.sbx.toml"},
		{"other file system", "/proc/self", ""},
	}
	if os.Getuid() == 0 {
		if err := errors.Join(os.Chown(foreign, 12345, -1), os.Lchown(dir+"/srv/given/.sbx.toml", 12345, -1), os.Lchown(dir+"/srv/top/given/.sbx.toml", 12345, -1)); err != nil {
			t.Fatal(err)
		}
		tests = append(tests, []struct{ name, cwd, want string }{
			{"somebody else's directory", foreign, foreign + "/.sbx.toml"},
			{"somebody else's file", dir + "/srv/given", ""},
			{"somebody else's file, below one's own", dir + "/srv/top/given", dir + "/srv/top/.sbx.toml"},
			{"below somebody else's directory", foreign + "/sub", foreign + "/.sbx.toml"},
		}...)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path, ok, err := Discover(test.cwd, env)
			if err != nil || path != test.want || ok != (test.want != "") {
				t.Errorf("got %q, %v, %v, want %q", path, ok, err, test.want)
			}
		})
	}
	if _, _, err := Discover(dir+"/gone", env); err == nil {
		t.Error("from a directory that is not there: no error")
	}
}

func TestHostEnv(t *testing.T) {
	t.Setenv("HOME", "relative")
	t.Setenv("USER", "")
	e := HostEnv()
	name, home := e.passwdEntry()
	if home != "" && (e.Home != home || e.User != name) {
		t.Errorf("got %q, %q, want what /etc/passwd says: %q, %q", e.User, e.Home, name, home)
	}
	t.Setenv("HOME", "/h")
	t.Setenv("USER", "me")
	if e := HostEnv(); e.Home != "/h" || e.User != "me" || !filepath.IsAbs(e.Cwd) {
		t.Errorf("got %+v", e)
	}
	if name, home := (Env{UID: 0}).passwdEntry(); name != "root" || home == "" {
		t.Errorf("uid 0 is %q, %q", name, home)
	}
}
