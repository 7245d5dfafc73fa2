package projects

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// listing prints all of a tree: per path its kind, mode, time and where it leads,
// then the hash of every file.
const listing = `find . -mindepth 1 -type f -printf '%P\t%y %m %T@\0' -o -mindepth 1 -printf '%P\t%y %m %l\0'
printf '\1'
find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z --`

// parsed is what listing printed, by path.
func parsed(t *testing.T, r world.Result) map[string]string {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("listing a tree: status %d, %s", r.Code, r.Err)
	}
	names, sums, ok := strings.Cut(r.Out, "\x01")
	if !ok {
		t.Fatalf("listing a tree: %q", tail(r.Out))
	}
	all := map[string]string{}
	for entry := range strings.SplitSeq(strings.TrimSuffix(names, "\x00"), "\x00") {
		path, what, _ := strings.Cut(entry, "\t")
		all[path] = what
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(sums, "\x00"), "\x00") {
		if sum, path, ok := strings.Cut(line, "  ./"); ok {
			all[path] += " " + sum
		}
	}
	return all
}

// trial is a project with runs on an overlay of it.
type trial struct {
	*site
	flags []string
}

// on are trials by each means that the host has.
func on(t *testing.T, run func(t *testing.T, backend string)) {
	t.Helper()
	t.Run("kernel", func(t *testing.T) { sbxtest.Require(t, sbxtest.Overlay); run(t, "kernel") })
	t.Run("fuse-overlayfs", func(t *testing.T) {
		sbxtest.Require(t, sbxtest.FUSE, sbxtest.Tool("fuse-overlayfs"))
		run(t, "fuse-overlayfs")
	})
}

func (s *site) trial(t *testing.T, backend string) *trial {
	t.Helper()
	t.Cleanup(func() { // only sbx removes all of it
		if got := s.Run(t, s.Sbx, "discard", "it"); got.Code != 0 {
			t.Errorf("discarding: %s", got.Err)
		}
	})
	return &trial{s, []string{"run", "-q", "--overlay=it", "--set", "overlay.backend=" + backend}}
}

// inside runs a script on the overlay.
func (l *trial) inside(t *testing.T, profile, script string) world.Result {
	t.Helper()
	argv := append(append([]string{l.Sbx}, l.flags...), profile, "--", "/bin/sh", "-ec", script)
	return l.outside(t, argv...)
}

// host is the project as the host has it, to the inode and its change time.
func (l *trial) host(t *testing.T) string {
	t.Helper()
	r := l.outside(t, "sh", "-ec", "find . -printf '%P %y %m %s %i %T@ %C@ %l\n' | LC_ALL=C sort; "+strings.Split(listing, "\n")[2])
	if r.Code != 0 {
		t.Fatal(r.Err)
	}
	return r.Out
}

// there is the project as the host has it, to be compared with what is inside.
func (l *trial) there(t *testing.T) map[string]string {
	t.Helper()
	return parsed(t, l.outside(t, "sh", "-ec", listing))
}

// between are the paths that differ in two trees, sorted.
func between(a, b map[string]string) (list []string) {
	all := maps.Clone(a)
	maps.Copy(all, b)
	for path := range all {
		if a[path] != b[path] {
			list = append(list, path)
		}
	}
	slices.Sort(list)
	return list
}

// changed are the paths that sbx diff lists, sorted.
func (l *trial) changed(t *testing.T) (list []string) {
	t.Helper()
	r := l.outside(t, l.Sbx, "diff", "--json", "it")
	var x struct {
		Layers []struct {
			Changes []struct {
				Path  string
				Bytes []byte `json:"path_bytes"`
			}
			Problems []struct{ Path, Why string }
		}
	}
	if err := json.Unmarshal([]byte(r.Out), &x); err != nil || r.Code != 0 || len(x.Layers) != 1 || len(x.Layers[0].Problems) > 0 {
		t.Fatalf("sbx diff: status %d, %v: %s %s", r.Code, err, tail(r.Out), r.Err)
	}
	for _, c := range x.Layers[0].Changes {
		path := c.Path
		if c.Bytes != nil {
			path = string(c.Bytes)
		}
		if path != "" && path != "." {
			list = append(list, path)
		}
	}
	slices.Sort(list)
	return list
}

// exact fails the test unless diff lists just what differs between the host and
// the inside, of which it returns a listing.
func (l *trial) exact(t *testing.T, profile string) map[string]string {
	t.Helper()
	in := parsed(t, l.inside(t, profile, listing))
	want := between(l.there(t), in)
	if got := l.changed(t); !slices.Equal(got, want) {
		t.Errorf("sbx diff lists\n%s\nwhere inside these differ:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return in
}

// install is the script of somebody who is not trusted: it does what it is for,
// and a number of things that run later, lead elsewhere or destroy.
const install = `set -e
mkdir -p bin share
printf '#!/bin/sh\necho tool\n' >bin/tool
chmod 755 bin/tool
echo text >share/text
sed -i s/one/two/ README
rm -r docs
echo 'a file now' >docs
rm old
mv moved share/moved
chmod 700 src
printf 'odd\n' >"$(printf 'odd\nname \377')"
# What it is not for.
echo "touch $HOME/pwned" >>$HOME/.bashrc
printf '#!/bin/sh\ntouch "$HOME/pwned"\n' >.git/hooks/post-checkout
chmod 755 .git/hooks/post-checkout
git config core.fsmonitor 'touch "$HOME/pwned"; false'
echo 'touch "$HOME/pwned"' >.envrc
mkdir .vscode
echo '{"tasks": []}' >.vscode/tasks.json
ln -s "$HOME/.ssh" keys
mkfifo pipe
cp /bin/true helper
chmod 4755 helper || true
`

// planted makes the project that the script is for.
func planted(t *testing.T, s *site) {
	t.Helper()
	for name, text := range map[string]string{"README": "one\n", "docs/page": "page\n", "docs/deep/page": "deep\n", "old": "old\n", "moved": "as it was\n", "src/main.c": "int x;\n", "install.sh": install} {
		s.Write(t, s.Project+"/"+name, text)
	}
	s.commit(t)
	s.Write(t, s.Home+"/.bashrc", "# mine\n")
}

// TestOverlayInstall runs a hostile install script on an overlay: diff shows all
// that it did, the host has nothing of it, what is wanted is taken over in part,
// and what would harm is held back and named.
func TestOverlayInstall(t *testing.T) {
	t.Run("control", func(t *testing.T) {
		s := newSite(t, "install")
		planted(t, s)
		s.must(t, s.outside(t, "sh", "install.sh"))
		s.must(t, s.outside(t, "sh", "-c", "git checkout -q -b other; git status >/dev/null; test -e $HOME/pwned && grep pwned $HOME/.bashrc && test -u helper && cat keys/id_ed25519"), "decoy")
	})
	on(t, func(t *testing.T, backend string) {
		s := newSite(t, "install")
		planted(t, s)
		l := s.trial(t, backend)
		s.untouched(t)
		before := l.host(t)
		s.must(t, l.inside(t, "build", "sh install.sh && bin/tool"), "tool")
		l.exact(t, "build")
		if now := l.host(t); now != before {
			t.Errorf("the project is no more what it was:\n%s\nit was\n%s", now, before)
		}
		r := s.outside(t, s.Sbx, "diff", "it")
		s.must(t, r, "M  README\n", "D  old\n", `A  "odd\nname \xff"`, "A  .envrc  ! ", "A  keys ", "A  pipe  (fifo)  ! a fifo is never taken over")

		// A part of it.
		was := l.there(t)
		s.must(t, s.outside(t, s.Sbx, "apply", "it", "--only", "bin/**", "--only", "share/text"))
		if got, want := between(was, l.there(t)), []string{"bin", "bin/tool", "share", "share/text"}; !slices.Equal(got, want) {
			t.Errorf("apply --only changed %q, want %q", got, want)
		}
		s.must(t, s.outside(t, "bin/tool"), "tool")
		before = l.host(t)
		if r := s.outside(t, s.Sbx, "apply", "--dry-run", "it"); r.Code != 1 || l.host(t) != before {
			t.Errorf("a dry run: status %d, %s", r.Code, r.Err)
		}

		// The rest, but for what the host changed meanwhile.
		s.Write(t, s.Project+"/README", "the person's own\n")
		before = l.host(t)
		s.fails(t, s.outside(t, s.Sbx, "apply", "it"), "README: held back: it changed on the host")
		if now := l.host(t); now != before {
			t.Error("in spite of the conflict something was taken over")
		}
		was = l.there(t)
		s.fails(t, s.outside(t, s.Sbx, "apply", "it", "--skip-conflicts"), "README: held back", ".envrc: held back", ".vscode: held back", ".git/config: held back",
			".git/hooks/post-checkout: held back", "keys: held back: it leads out of the tree", "pipe: held back: a fifo is never taken over")
		want := []string{"docs", "docs/deep", "docs/deep/page", "docs/page", "helper", "moved", "odd\nname \xff", "old", "share/moved", "src"}
		if got := between(was, l.there(t)); !slices.Equal(got, want) {
			t.Errorf("apply changed %q, want %q", got, want)
		}
		s.must(t, s.outside(t, "sh", "-c", "git checkout -q -b other; git status >/dev/null; test ! -e $HOME/pwned && test ! -u helper && find . -perm /6000 -o -type p"))
	})
}

// TestOverlayTools lets npm, go and make work on an overlay: diff shows just what
// they did, nothing is on the host, and all that is taken over is as inside.
func TestOverlayTools(t *testing.T) {
	type tool struct {
		profile, script string
		part            string // what is taken over first
	}
	works := map[string]func(t *testing.T) (*site, tool){
		"npm": func(t *testing.T) (*site, tool) {
			s := newSite(t, "node", "node", "npm")
			s.fetched(t)
			return s, tool{profile: "node", script: "npm ci --offline && npm run build", part: "node_modules"}
		},
		"go": func(t *testing.T) (*site, tool) {
			s, profile := goSite(t, "overlaid")
			s.Write(t, s.Project+"/go.mod", "module example.com/overlaid\n\ngo 1.21\n")
			s.Write(t, s.Project+"/main.go", "package main\n\n//go:generate sh -c \"echo package main >made.go\"\nfunc main() { println(\"built\") }\n")
			return s, tool{profile: profile, script: "go generate && go build -o bin/ . && bin/overlaid", part: "bin"}
		},
		"make": func(t *testing.T) (*site, tool) {
			s := newSite(t, "c", "gcc", "make")
			return s, tool{profile: "make", script: "./configure --prefix=/usr && make && make install DESTDIR=stage", part: "stage"}
		},
	}
	for _, name := range slices.Sorted(maps.Keys(works)) {
		t.Run(name, func(t *testing.T) {
			on(t, func(t *testing.T, backend string) {
				s, w := works[name](t)
				s.commit(t)
				l := s.trial(t, backend)
				s.untouched(t)
				before, was := l.host(t), l.there(t)
				s.must(t, l.inside(t, w.profile, w.script))
				in := l.exact(t, w.profile)
				if now := l.host(t); now != before {
					t.Errorf("the project is no more what it was:\n%s\nit was\n%s", now, before)
				}
				if len(between(was, in)) < 3 {
					t.Errorf("control: it did only %q", between(was, in))
				}
				s.must(t, s.outside(t, s.Sbx, "apply", "it", w.part))
				for _, path := range between(was, l.there(t)) {
					if path != w.part && !strings.HasPrefix(path, w.part+"/") {
						t.Errorf("apply %s changed %s", w.part, path)
					}
				}
				s.must(t, s.outside(t, s.Sbx, "apply", "it", "--allow-triggers"))
				if left := between(in, l.there(t)); len(left) > 0 {
					t.Errorf("after all is taken over these are not as inside: %q", left)
				}
				if left := l.changed(t); len(left) > 0 {
					t.Errorf("there is still %q to be taken over", left)
				}
			})
		})
	}
}
