package changes

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// TestGates: what would do harm later is held back and named, the rest is taken
// over, and what opens a gate opens just that one.
func TestGates(t *testing.T) {
	for _, c := range []struct {
		name, before, do string
		args             []string
		code             int
		said             string // part of stderr
		want             string // what the host does after, from the tree before
	}{
		{name: "a trigger", do: "echo x >.envrc; echo a >a", code: 1, said: ".envrc: held back: the host runs it later", want: "echo a >a"},
		{name: "a trigger that is there", before: "echo y >.envrc", do: "echo x >.envrc", code: 1, said: "direnv", want: ":"},
		{name: "a trigger deleted", before: "echo y >.npmrc", do: "rm .npmrc", code: 1, said: ".npmrc: held back", want: ":"},
		{name: "a trigger named", do: "echo x >.envrc; echo x >b", args: []string{"--only", ".envrc"}, want: "echo x >.envrc"},
		{name: "a trigger matched but not named", do: "echo x >.envrc", args: []string{"--only", "*"}, code: 1, said: ".envrc", want: ":"},
		{name: "triggers allowed", do: "mkdir .vscode; echo x >.vscode/tasks.json", args: []string{"--allow-triggers"}, want: "mkdir .vscode; echo x >.vscode/tasks.json"},
		{name: "one of a directory named", do: "mkdir .vscode; echo x >.vscode/tasks.json; echo y >.vscode/settings.json", args: []string{"--only", ".vscode/tasks.json"}, want: "mkdir .vscode; echo x >.vscode/tasks.json"},
		{name: "by another case", do: "mkdir .GIT; echo x >.GIT/config", code: 1, said: ".GIT", want: ":"},
		{name: "a repository by what is in it", do: "mkdir -p d/objects d/refs; echo ref: refs/heads/m >d/HEAD; echo '[core]' >d/config; echo a >d/a", code: 1, said: "git takes d for a repository", want: "mkdir d; echo a >d/a"},
		{name: "a repository made whole", before: "mkdir -p d/objects d/refs; echo '[core]' >d/config", do: "echo ref: refs/heads/m >d/HEAD", code: 1, said: "git takes d for a repository", want: ":"},
		{name: "a hook in a bare repository", before: "mkdir -p d/objects d/refs d/hooks; echo ref: refs/heads/m >d/HEAD", do: "echo x >d/hooks/post-update; echo y >d/objects/y", code: 1, said: "d/hooks/post-update", want: "echo y >d/objects/y"},
		{name: "a commit", before: "git init -q .", do: "mkdir -p .git/objects/ab; echo o >.git/objects/ab/x; echo m >.git/refs/heads/m; echo x >>.git/config", code: 1, said: ".git/config", want: "mkdir -p .git/objects/ab; echo o >.git/objects/ab/x; echo m >.git/refs/heads/m"},
		{name: "a new repository", do: "mkdir -p s/.git/hooks; echo x >s/.git/hooks/post-checkout; echo a >s/a", code: 1, said: "s/.git: held back", want: "mkdir s; echo a >s/a"},
		{name: "a link for settings", before: "mkdir x; echo c >x/config.toml", do: "ln -s x .cargo", code: 1, said: ".cargo", want: ":"},
		{name: "what a link for settings leads to", before: "mkdir x; echo c >x/tasks.json; ln -s x .vscode", do: "echo d >x/tasks.json", code: 1, said: "x/tasks.json", want: ":"},
		{name: "what builds make", do: "echo all: >Makefile; echo x >p; chmod 755 p", want: "echo all: >Makefile; echo x >p; chmod 755 p"},
		{name: "a link out", do: "ln -s /etc/passwd a; ln -s ../../x b; ln -s b/../.. c; echo d >d", code: 1, said: "a: held back: it leads out of the tree, to /etc/passwd", want: "echo d >d"},
		{name: "a link out allowed", do: "ln -s /etc/passwd a", args: []string{"--allow-links"}, want: "ln -s /etc/passwd a"},
		{name: "a link out named", do: "ln -s /etc/passwd a; ln -s /etc/shadow b", args: []string{"--only", "a"}, want: "ln -s /etc/passwd a"},
		{name: "a link within", do: "mkdir -p x/y; ln -s ../../z x/y/l; ln -s x/y k; ln -s $T/x abs", want: "mkdir -p x/y; ln -s ../../z x/y/l; ln -s x/y k; ln -s $T/x abs"},
		{name: "a FIFO", do: "mkfifo f; echo a >a", code: 1, said: "f: held back: a fifo is never taken over", want: "echo a >a"},
		{name: "a FIFO named", do: "mkfifo f", args: []string{"--only", "f", "--allow-triggers", "--allow-links"}, code: 1, said: "a fifo is never", want: ":"},
		{name: "a FIFO for a file", before: "echo a >f", do: "rm f; mkfifo f", code: 1, said: "a fifo is never", want: ":"},
		{name: "a FIFO in a new directory", do: "mkdir d; mkfifo d/f; echo a >d/a", code: 1, said: "d/f", want: "mkdir d; echo a >d/a"},
		{name: "a socket", do: "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'", code: 1, said: "a socket is never", want: ":"},
		{name: "set-user-ID", do: "cp /bin/true s; chmod 6755 s; mkdir d; chmod 3777 d", said: "s: taken over without set-user-ID, set-group-ID", want: "cp /bin/true s; chmod 755 s; mkdir d; chmod 777 d"},
		{name: "set-user-ID alone", before: "echo a >s; chmod 755 s", do: "chmod 4755 s", code: 1, said: "s: held back: set-user-ID is never taken over", want: ":"},
		{name: "a driver's attribute", before: "mkdir d; echo a >d/a", do: "setfattr -n user.overlay.opaque -v y d; setfattr -n user.ok -v 1 d", want: "setfattr -n user.ok -v 1 d"},
		{name: "an access control list", before: "echo a >b; chmod 640 b", do: "echo a >a; chmod 640 a; setfacl -m u:0:rwx a; setfacl -m u:0:rwx b", code: 1, said: "a: taken over without system.posix_acl_access", want: "echo a >a; chmod 640 a"},
		{name: "only", do: "mkdir -p src/a doc; echo 1 >src/a/x.c; echo 2 >src/y.o; echo 3 >doc/z", args: []string{"--only", "src/**", "--exclude", "*.o"}, want: "mkdir -p src/a; echo 1 >src/a/x.c"},
		{name: "only by a name", before: "mkdir d; echo 1 >d/a; echo 2 >d/b", do: "rm -r d", args: []string{"--only", "a"}, want: "rm d/a"},
		{name: "a deleted directory but for one file", before: "mkdir d; echo 1 >d/a; echo 2 >d/b", do: "rm -r d", args: []string{"--exclude", "d/b"}, want: "rm d/a"},
		{name: "a directory that became a file, but for one", before: "mkdir d; echo 1 >d/a; echo 2 >d/b", do: "rm -r d; echo x >d", args: []string{"--exclude", "d/b"}, want: ":"},
		{name: "a path", do: "mkdir d e; echo 1 >d/a; echo 2 >e/b", args: []string{"d"}, want: "mkdir d; echo 1 >d/a"},
		{name: "nothing there", do: "echo a >a", args: []string{"--only", "b"}, want: ":"},
		{name: "no such overlay", do: "echo a >a", args: []string{"nosuch"}, code: 125, said: `no overlay "nosuch"`, want: ":"},
		{name: "a bad pattern", do: "echo a >a", args: []string{"--only", "a[" /*]*/}, code: 2, said: "syntax error in pattern", want: ":"},
		{name: "a path elsewhere", do: "echo a >a", args: []string{"/etc"}, code: 2, said: "/etc lies in nothing", want: ":"},
	} {
		for _, driver := range drivers {
			t.Run(c.name+"/"+driver, func(t *testing.T) {
				t.Parallel()
				l := under(t, driver, c.before)
				l.inside(t, "T="+l.tree+"\n"+c.do)
				twin := under(t, upper.Kernel, c.before)
				twin.host(t, "T="+l.tree+"\n"+c.want)
				got := l.sbx(t, append([]string{"apply"}, c.args...)...)
				if got.code != c.code || !strings.Contains(got.err, c.said) {
					t.Errorf("status %d, want %d; want %q in %q", got.code, c.code, c.said, got.err)
				}
				if d := ageless(twin.tree, l.tree, t); len(d) > 0 {
					t.Errorf("after apply:\n%s", strings.Join(d, "\n"))
				}
				for _, attr := range []string{"user.overlay.opaque", "user.overlay.overlay.opaque"} {
					if out, err := exec.Command("getfattr", "-R", "-n", attr, l.tree).Output(); err == nil || len(out) > 0 {
						t.Errorf("the host's tree has a driver's attribute:\n%s", out)
					}
				}
				l.clean(t)
			})
		}
	}
}

// ageless are the differences of two trees but for times.
func ageless(a, b string, t *testing.T) []string {
	x, y := tree(t, a), tree(t, b)
	for _, m := range []map[string]file{x, y} {
		for p, f := range m {
			f.mtime = time.Time{}
			m[p] = f
		}
	}
	return differences(x, y)
}

// TestConflicts: where the host's file changed as well nothing is taken over,
// unless that is asked for.
func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		name, before, do, host string
		conflicts              int
		skipped                string // what of do is applied with --skip-conflicts, "" for nothing
	}{
		{"both changed", "echo a >a; echo b >b", "echo x >a; echo x >b", "echo y >a", 1, "echo x >b"},
		{"both the same way", "echo a >a; touch -d 2001-01-01 a", "echo x >a; touch -d 2002-01-01 a", "echo x >a; touch -d 2002-01-01 a", 0, ":"},
		{"changed and back", "echo a >a; touch -d 2001-01-01 a", "echo x >a", "echo y >a; echo a >a; touch -d 2001-01-01 a", 1, ""},
		{"both added", "", "echo x >a", "echo y >a", 1, ""},
		{"changed here, deleted there", "echo a >a", "echo x >a", "rm a", 1, ""},
		{"deleted here, changed there", "echo a >a", "rm a", "echo y >a", 1, ""},
		{"both deleted", "echo a >a", "rm a", "rm a", 0, ":"},
		{"both deleted a tree", "mkdir d; echo a >d/a", "rm -r d", "rm -r d", 0, ":"},
		{"deleted a directory, a file came", "mkdir d; echo a >d/a", "rm -r d", "echo n >d/n", 1, "rm d/a"},
		{"mode changed there", "echo a >a", "echo x >a", "chmod 600 a", 1, ""},
		{"replaced there by the same", "echo a >a; touch -d 2001-01-01 a", "echo x >a", "cp -p a b; mv b a", 1, ""},
		{"made a directory of it", "echo a >a", "echo x >a", "rm a; mkdir a; echo q >a/q", 2, ""},
		{"made a file of the directory", "mkdir d", "echo x >d/x", "rmdir d; echo y >d", 2, ""},
		{"the directory went", "mkdir d; echo a >d/a", "echo x >d/x; echo y >d/a", "rm -r d", 2, ""},
		{"renamed there", "echo a >a", "echo x >a", "mv a b", 1, ""},
		{"a link retargeted", "ln -s a l", "ln -sfn b l", "ln -sfn c l", 1, ""},
		{"mode of a directory", "mkdir d", "chmod 700 d", "chmod 750 d", 1, ""},
		{"others of the directory", "mkdir d; echo a >d/a", "echo x >d/a", "echo n >d/n", 0, "echo x >d/a"},
		{"something else", "echo a >a; echo b >b", "echo x >a", "echo y >b; echo c >c", 0, "echo x >a"},
		{"moved here, others there", "echo a >a; mkdir d", "mv a d/b; echo more >>d/b", "echo c >c", 0, "rm a; printf 'a\\nmore\\n' >d/b"},
	} {
		for _, driver := range drivers {
			t.Run(c.name+"/"+driver, func(t *testing.T) {
				t.Parallel()
				l := under(t, driver, c.before)
				l.inside(t, c.do)
				l.host(t, c.host)
				before := tree(t, l.tree)
				got := l.sbx(t, "apply")
				if c.conflicts == 0 {
					if got.code != 0 {
						t.Errorf("status %d, %s", got.code, got.err)
					}
				} else {
					n := strings.Count(got.err, ": held back: ")
					if got.code != 1 || n == 0 {
						t.Errorf("status %d, %d conflicts named: %s", got.code, n, got.err)
					}
					if d := differences(before, tree(t, l.tree)); len(d) > 0 {
						t.Errorf("in spite of a conflict:\n%s", strings.Join(d, "\n"))
					}
					got := l.sbx(t, "apply", "--skip-conflicts")
					if got.code != 1 {
						t.Errorf("--skip-conflicts: status %d, %s", got.code, got.err)
					}
				}
				twin := under(t, upper.Kernel, c.before)
				twin.host(t, c.host)
				twin.host(t, "set +e\n"+c.skipped)
				if d := ageless(twin.tree, l.tree, t); len(d) > 0 {
					t.Errorf("without the conflicts:\n%s", strings.Join(d, "\n"))
				}
				if c.conflicts == 0 {
					return
				}
				if got := l.sbx(t, "apply", "--force-conflicts", "--skip-conflicts"); got.code != 2 {
					t.Errorf("both flags: status %d", got.code)
				}
				if got := l.sbx(t, "apply", "--force-conflicts"); got.code != 0 && !strings.Contains(c.name, "a file came") {
					t.Errorf("--force-conflicts: status %d, %s", got.code, got.err)
				}
				l.clean(t)
			})
		}
	}
}

// TestAgain: what apply itself did is no conflict for a later one, and the host's
// later changes still are.
func TestAgain(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			l := under(t, driver, "echo a >a; mkdir d; echo b >d/b; echo c >c")
			l.inside(t, "echo 1 >a; echo 1 >d/n; rm c; echo 1 >.envrc")
			if got := l.sbx(t, "apply"); got.code != 1 {
				t.Fatalf("%d %s", got.code, got.err)
			}
			l.inside(t, "echo 2 >a; echo 2 >d/n; echo 2 >c; chmod 700 d")
			if got := l.sbx(t, "apply", "--exclude", ".envrc"); got.code != 0 {
				t.Fatalf("a second apply: %d %s", got.code, got.err)
			}
			l.inside(t, "echo 3 >a; echo 3 >d/n")
			l.host(t, "echo host >a")
			before := tree(t, l.tree)
			if got := l.sbx(t, "apply", "--exclude", ".envrc"); got.code != 1 || !strings.Contains(got.err, "a: held back: it changed on the host") || strings.Contains(got.err, "d/n") {
				t.Errorf("after the host's change: %d %s", got.code, got.err)
			}
			if now := tree(t, l.tree); !maps.Equal(now, before) {
				t.Error("it was taken over")
			}
			if got := l.sbx(t, "apply", "--allow-triggers", "--force-conflicts"); got.code != 0 {
				t.Errorf("forced: %d %s", got.code, got.err)
			}
			if _, err := os.Stat(l.dir() + "/upper.known"); err == nil {
				t.Error("what apply did is still noted")
			}
		})
	}
}

// TestPatch: git apply makes of the tree what apply makes of it, as far as git has
// words for it.
func TestPatch(t *testing.T) {
	l := under(t, upper.Kernel, `mkdir d e; seq 100 >s; echo a >a; printf 'no end' >n; : >empty; echo x >'sp ace'; echo x >'new
line'; ln -s a l; echo t >t; echo m >m; echo e >e/e; printf '\377\n' >"$(printf 'b\377')"; echo crlf >c; cp s s2; echo same >u; printf 'a\0b' >bin`)
	l.inside(t, `sed -i 's/^50$/fifty/; 3d' s; rm a; printf 'no end
' >n; printf 'full' >empty; echo y >>'sp ace'; echo y >'new
line'; ln -sfn b l; rm t; ln -s x t; mv m d/m; rm -r e; echo e2 >e; printf '\376' >"$(printf 'b\377')"; printf 'a\r\nb\r\n' >c; chmod 755 s2; echo 'q"' >'q"'; mkdir -p x/y; : >x/y/z; mv u 'u u'; chmod 755 'u u'`)
	twin := t.TempDir()
	if out, err := exec.Command("cp", "-a", l.tree+"/.", twin).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	got := l.sbx(t, "diff", "--patch")
	if got.code != 0 || got.err != "" {
		t.Fatalf("%d %s", got.code, got.err)
	}
	cmd := exec.Command("git", "apply", "--whitespace=nowarn")
	cmd.Dir, cmd.Stdin = twin, strings.NewReader(got.out)
	cmd.Env = []string{"HOME=" + l.home, "GIT_CEILING_DIRECTORIES=/", "PATH=/usr/bin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v\n%s\n%s", err, out, got.out)
	}
	if got := l.sbx(t, "apply"); got.code != 0 {
		t.Fatalf("%d %s", got.code, got.err)
	}
	if d := ageless(l.tree, twin, t); len(d) > 0 {
		t.Errorf("git apply made something else:\n%s\n%s", strings.Join(d, "\n"), got.out)
	}
}

// TestForms: the other forms of diff.
func TestForms(t *testing.T) {
	l := under(t, upper.Kernel, "echo a >a; printf 'a\\0' >bin")
	l.inside(t, "printf '1\\n2\\n' >a; printf 'b\\0' >bin; echo x >'new\nline'; mkdir d; for i in $(seq 30); do echo $i >d/$i; done; mkfifo f; touch d")
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--exit-code"}, 1, []string{"M  a\n", "A  d/  (30 files in it)\n", `A  "new\nline"`, "A  f  (fifo)  ! a fifo is never taken over"}},
		{[]string{"--name-only"}, 0, []string{"a\n", `"new\nline"` + "\n", "d/30\n"}},
		{[]string{"--name-only", "-z"}, 0, []string{"a\x00", "new\nline\x00"}},
		{[]string{"--stat", "a", "bin"}, 0, []string{" a   |     3 ++-\n", " bin | binary\n", " 2 files, 2 insertions(+), 1 deletion(-)\n"}},
		{[]string{"--patch", "x", "bin"}, 0, []string{"Binary files a/bin and b/bin differ\n"}},
		{[]string{"x", "d/7"}, 0, []string{"A  d/7\n"}},
		{[]string{"-z"}, 2, nil},
	} {
		got := l.sbx(t, append([]string{"diff"}, c.args...)...)
		if got.code != c.code {
			t.Errorf("%q: status %d, %s", c.args, got.code, got.err)
		}
		for _, w := range c.want {
			if !strings.Contains(got.out, w) {
				t.Errorf("%q prints\n%s\nwithout %q", c.args, got.out, w)
			}
		}
	}
}

// TestCompare: two layers over one tree.
func TestCompare(t *testing.T) {
	l := under(t, upper.Kernel, "echo a >a; echo b >b; echo c >c; echo d >d; ln -s a l; mkdir e; echo e >e/e")
	l.inside(t, "echo 1 >a; echo 2 >b; rm c; echo 3 >d; ln -sfn x l; echo n >n; rm -r e")
	r := *l.record
	r.Name = "y"
	h, err := l.store.Create(&r, "")
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	left := l.upper()
	hold := filepath.Dir(left) + "/hold"
	if err := os.Rename(left, hold); err != nil { // inside writes to x
		t.Fatal(err)
	}
	if err := os.Mkdir(left, 0o755); err != nil {
		t.Fatal(err)
	}
	l.inside(t, "echo 1 >a; rm b; rm c; echo 33 >d; ln -sfn x l; echo n >m; echo f >e/e")
	if err := os.Rename(left, l.store.Dir("y")+"/upper.new"); err != nil {
		t.Fatal(err)
	}
	for _, mv := range [][2]string{{hold, left}, {l.store.Dir("y") + "/upper", l.store.Dir("y") + "/old"}, {l.store.Dir("y") + "/upper.new", l.store.Dir("y") + "/upper"}} {
		if err := os.Rename(mv[0], mv[1]); err != nil {
			t.Fatal(err)
		}
	}
	got := l.sbx(t, "compare", "--all", "--exit-code", "x", "y")
	want := `=  a  (changed)
*  b  (changed, deleted)
=  c  (deleted)
*  d  (changed)
<  e  (deleted)
*  e/e  (deleted, changed)
=  l  (changed)
>  m  (added)
<  n  (added)
`
	if got.code != 1 || got.out != want {
		t.Errorf("status %d\n%swant\n%s%s", got.code, got.out, want, got.err)
	}
	patch := l.sbx(t, "compare", "--patch", "x", "y")
	twin := t.TempDir()
	for _, name := range []string{"x", "y"} {
		other := under(t, upper.Kernel, "echo a >a; echo b >b; echo c >c; echo d >d; ln -s a l; mkdir e; echo e >e/e")
		script := "echo 1 >a; echo 2 >b; rm c; echo 3 >d; ln -sfn x l; echo n >n; rm -r e"
		if name == "y" {
			script = "echo 1 >a; rm b; rm c; echo 33 >d; ln -sfn x l; echo n >m; echo f >e/e"
		}
		other.host(t, script)
		if name == "x" {
			if out, err := exec.Command("cp", "-a", other.tree+"/.", twin).CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			cmd := exec.Command("git", "apply")
			cmd.Dir, cmd.Stdin = twin, strings.NewReader(patch.out)
			cmd.Env = []string{"HOME=" + l.home, "GIT_CEILING_DIRECTORIES=/", "PATH=/usr/bin:/bin"}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("git apply: %v\n%s\n%s", err, out, patch.out)
			}
		} else if d := ageless(other.tree, twin, t); len(d) > 0 {
			t.Errorf("the patch makes something else:\n%s", strings.Join(d, "\n"))
		}
	}
	for _, c := range []struct {
		args []string
		code int
		said string
	}{
		{[]string{"x"}, 2, "which two"},
		{[]string{"x", "z"}, 125, `no overlay "z"`},
		{[]string{"x", "x", "--exit-code"}, 0, ""},
	} {
		if got := l.sbx(t, append([]string{"compare"}, c.args...)...); got.code != c.code || !strings.Contains(got.err, c.said) {
			t.Errorf("compare %q: status %d, %s", c.args, got.code, got.err)
		}
	}
}
