package changes

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// cases are what commands do to a tree. Each has the tree before, what is done,
// and how diff lists it: kind and path, sorted by path. Paths are as git quotes
// them.
var cases = []struct {
	name, before, do, want string
}{
	{"nothing", "echo a >a", ":", ""},
	{"a read alone", "echo a >a; mkdir d; echo b >d/b", "cat a d/b >/dev/null; ls -R >/dev/null", ""},
	{"add", "", "echo a >a", "added a"},
	{"add an empty file", "", ": >a", "added a"},
	{"add a tree", "", "mkdir -p a/b/c; echo x >a/b/c/x; echo y >a/y", "added a\nadded a/b\nadded a/b/c\nadded a/b/c/x\nadded a/y"},
	{"add an empty directory", "", "mkdir d", "added d"},
	{"add to a directory", "mkdir d; echo a >d/a", "echo b >d/b", "added d/b"},
	{"change", "echo a >a", "echo b >a", "changed a"},
	{"change of the same length and time", "echo a >a; touch -d 2001-01-01 a", "echo b >a; touch -d 2001-01-01 a", "changed a"},
	{"append", "echo a >a", "echo b >>a", "changed a"},
	{"truncate", "echo a >a", ": >a", "changed a"},
	{"fill an empty file", ": >a", "echo a >a", "changed a"},
	{"written with what it was", "echo a >a; touch -d 2001-01-01 a", "echo a >a; touch -d 2001-01-01 a", ""},
	{"mode and back", "echo a >a", "chmod 600 a; chmod 644 a", ""},
	{"delete", "echo a >a; echo b >b", "rm a", "deleted a"},
	{"delete a tree", "mkdir -p d/e; echo a >d/a; echo b >d/e/b; echo c >c", "rm -r d", "deleted d\ndeleted d/a\ndeleted d/e\ndeleted d/e/b"},
	{"delete an empty directory", "mkdir d", "rmdir d", "deleted d"},
	{"delete all", "echo a >a; mkdir d; echo b >d/b", "rm -r ./*", "deleted a\ndeleted d\ndeleted d/b"},
	{"delete one of a directory", "mkdir d; echo a >d/a; echo b >d/b", "rm d/a", "deleted d/a"},
	{"delete what was added", "", "echo a >a; rm a", ""},
	{"delete and recreate", "echo a >a", "rm a; echo b >a", "changed a"},
	{"delete and recreate the same", "echo a >a; touch -d 2001-01-01 a", "rm a; echo a >a; touch -d 2001-01-01 a", ""},
	{"directory recreated empty", "mkdir d; echo a >d/a", "rm -r d; mkdir d", "deleted d/a"},
	{"directory recreated with others", "mkdir -p d/s; echo a >d/a; echo b >d/s/b", "rm -r d; mkdir d; echo c >d/c; mkdir d/s", "deleted d/a\nadded d/c\ndeleted d/s/b"},
	{"directory recreated with the same file", "mkdir d; echo a >d/a; touch -d 2001-01-01 d/a", "rm -r d; mkdir d; echo a >d/a; touch -d 2001-01-01 d/a", ""},
	{"mode", "echo a >a", "chmod 755 a", "changed a"},
	{"mode of a directory", "mkdir d; echo a >d/a", "chmod 700 d", "changed d"},
	{"mode of the top", "", "chmod 700 .", "changed ."},
	{"time", "echo a >a", "touch -d 2001-01-01 a", "changed a"},
	{"time of a directory", "mkdir d", "touch -d 2001-01-01 d", ""},
	{"time before 1970", "echo a >a", "touch -d 1960-01-01 a", "changed a"},
	{"attribute", "echo a >a; setfattr -n user.a -v 1 a; touch -d 2001-01-01 a", "setfattr -n user.a -v 2 a; setfattr -n user.b -v 3 a", "changed a"},
	{"attribute of a directory", "mkdir d", "setfattr -n user.a -v 2 d", "changed d"},
	{"attribute removed", "echo a >a; setfattr -n user.a -v 1 a", "setfattr -x user.a a", "changed a"},
	{"link", "", "ln -s a b", "added b"},
	{"link to a directory", "mkdir d", "ln -s d e", "added e"},
	{"link changed", "ln -s a b", "ln -sfn c b", "changed b"},
	{"link deleted", "ln -s a b", "rm b", "deleted b"},
	{"link written through", "echo a >a; ln -s a b", "echo b >b", "changed a"},
	{"link to itself", "", "ln -s l l", "added l"},
	{"file to link", "echo a >a; echo b >b", "rm a; ln -s b a", "type a"},
	{"link to file", "ln -s b a; echo b >b", "rm a; echo x >a", "type a"},
	{"file to directory", "echo a >a", "rm a; mkdir a; echo b >a/b", "type a\nadded a/b"},
	{"directory to file", "mkdir -p a/s; echo b >a/b; echo c >a/s/c", "rm -r a; echo x >a", "type a\ndeleted a/b\ndeleted a/s\ndeleted a/s/c"},
	{"directory to link", "mkdir a c; echo b >a/b", "rm -r a; ln -s c a", "type a\ndeleted a/b"},
	{"link to directory", "mkdir c; ln -s c a", "rm a; mkdir a; echo x >a/x", "type a\nadded a/x"},
	{"rename", "echo a >a", "mv a b", "deleted a\nadded b from a"},
	{"rename with a new mode", "echo a >a", "mv a b; chmod 755 b", "deleted a\nadded b from a"},
	{"rename into a directory", "echo a >a; mkdir d", "mv a d/", "deleted a\nadded d/a from a"},
	{"rename over", "echo a >a; echo b >b", "mv a b", "deleted a\nchanged b"},
	{"rename across", "echo a >a; echo b >b", "mv a t; mv b a; mv t b", "changed a\nchanged b"},
	{"rename and change", "echo a >a", "mv a b; echo c >b", "deleted a\nadded b"},
	{"rename a directory", "mkdir -p d/s; echo a >d/a; echo b >d/s/b", "mv d e", "deleted d\ndeleted d/a\ndeleted d/s\ndeleted d/s/b\nadded e\nadded e/a from d/a\nadded e/s\nadded e/s/b from d/s/b"},
	{"rename a directory over an empty one", "mkdir d e; echo a >d/a", "mv -T d e", "deleted d\ndeleted d/a\nadded e/a from d/a"},
	{"rename a file over a former directory", "mkdir d; echo x >d/x; echo a >a", "rm -r d; mv a d", "deleted a\ntype d\ndeleted d/x"},
	{"hard link", "echo a >a", "ln a b", "added b"},
	{"hard links added", "", "echo a >a; ln a b; ln a c", "added a\nadded b\nadded c"},
	{"one of two hard links changed", "echo a >a; ln a b", "echo c >a.new; mv a.new a", "changed a"},
	{"mode of one of two hard links", "echo a >a; ln a b", "chmod 600 a; cat b >/dev/null", "changed a"},
	{"hard link deleted", "echo a >a; ln a b", "rm a", "deleted a"},
	{"both hard links deleted", "echo a >a; ln a b; echo c >c", "rm a b", "deleted a\ndeleted b"},
	{"sparse", "", "truncate -s 80M a; echo x | dd of=a bs=1 seek=50000000 conv=notrunc status=none", "added a"},
	{"sparse changed", "truncate -s 100M a", "echo x | dd of=a bs=1 seek=50000000 conv=notrunc status=none", "changed a"},
	{"sparse the same", "truncate -s 60M a; touch -d 2001-01-01 a", "chmod 600 a", "changed a"},
	{"large", "dd if=/dev/zero of=a bs=1M count=8 status=none", "echo x | dd of=a bs=1 seek=8388000 conv=notrunc status=none", "changed a"},
	{"many", "mkdir d; for i in $(seq 300); do echo $i >d/$i; done", "for i in $(seq 1 3 300); do echo x >d/$i; done; for i in $(seq 2 3 300); do rm d/$i; done", ""},
	{"deep", "", "d=.; for i in $(seq 60); do d=$d/long-name-of-a-directory; done; mkdir -p $d; echo x >$d/x", "-"},
	{"newline", "printf x >'a\nb'", "printf y >'a\nb'; printf z >'c\nd'", `changed "a\nb"` + "\n" + `added "c\nd"`},
	{"dashes", "printf x >./-rf; mkdir ./--", "rm ./-rf; printf x >./--/-n", "added --/-n from -rf\ndeleted -rf"},
	{"spaces", "printf x >' a '; printf y >'b c'", "rm ' a '; printf z >'b c'; printf w >' '", "added  \ndeleted  a \nchanged b c"},
	{"no UTF-8", `f=$(printf '\377\376'); echo a >"$f"`, `f=$(printf '\377\376'); echo b >"$f"; mkdir "d$f"; echo c >"d$f/$f"`, `added "d\377\376"` + "\n" + `added "d\377\376/\377\376"` + "\n" + `changed "\377\376"`},
	{"quotes and backslashes", `echo a >'q"\'`, `rm 'q"\'; echo b >"'"; echo c >'*'`, "added '\nadded *\n" + `deleted "q\"\\"`},
	{"escapes", "", `f=$(printf '\033[31mred'); echo a >"$f"`, `added "\033[31mred"`},
	{"names that drivers use", "", "echo a >a..wh.; echo b >opaque; mkdir work upper; echo c >upper/c", "added a..wh.\nadded opaque\nadded upper\nadded upper/c\nadded work"},
	{"long name", "", "echo a >$(printf '%0250d' 0)", "-"},
	{"names in order", "mkdir a", "echo 1 >a/b; echo 2 >a.b; echo 3 >a-b; echo 4 >a0", "added a/b\nadded a-b\nadded a.b\nadded a0"},
	{"unreadable to others", "", "echo a >a; chmod 400 a; mkdir d; echo b >d/b; chmod 500 d", "added a\nadded d\nadded d/b"},
	{"in a directory made writable", "mkdir d; echo a >d/a; chmod 555 d", "chmod 755 d; echo b >d/b; rm d/a", "changed d\ndeleted d/a\nadded d/b"},
	{"in a directory made read-only", "mkdir d; echo a >d/a", "echo b >d/b; chmod 555 d", "changed d\nadded d/b"},
	{"delete a read-only directory", "mkdir d; echo a >d/a; chmod 555 d", "chmod 755 d; rm -r d", "deleted d\ndeleted d/a"},
	{"read-only directory to file", "mkdir d; echo a >d/a; chmod 555 d", "chmod 755 d; rm -r d; echo x >d", "type d\ndeleted d/a"},
	{"read-only to read-only", "mkdir d; echo a >d/a; chmod 555 d", "chmod 755 d; rm -r d; mkdir d; echo b >d/b; chmod 500 d", "changed d\ndeleted d/a\nadded d/b"},
	{"without any right", "", "echo a >a; chmod 0 a", "added a"},
	{"with the right to write alone", "echo a >a", "echo b >a; chmod 200 a", "changed a"},
	{"a build", "mkdir src; echo 'int main(){}' >src/m.c; echo old >prog", "mkdir -p obj/x; cp src/m.c obj/x/m.o; cp src/m.c prog.tmp; chmod 755 prog.tmp; mv prog.tmp prog; ln -sf prog latest; ln -sf ../src obj/src", "-"},
}

// TestOracle: after apply the host's tree is what the sandbox showed, and there is
// nothing left to be shown or applied.
func TestOracle(t *testing.T) {
	if n := len(cases); n < 60 {
		t.Errorf("%d cases", n)
	}
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					if driver == upper.Fuse && c.name == "mode of one of two hard links" {
						return // fuse-overlayfs shows the new mode for both, until it is started again
					}
					l := under(t, driver, c.before)
					l.inside(t, c.do)
					before, want := tree(t, l.tree), l.seen(t)
					checkDiff(t, l, c.want, len(differences(before, want)) == 0)
					if now := tree(t, l.tree); !maps.Equal(now, before) {
						t.Fatalf("diff changed the tree:\n%s", strings.Join(differences(before, now), "\n"))
					}
					if got := l.sbx(t, "apply", "--dry-run", "--allow-triggers"); got.code != 0 || !maps.Equal(tree(t, l.tree), before) {
						t.Fatalf("dry run: status %d, %s", got.code, got.err)
					}
					got := l.sbx(t, "apply", "--allow-triggers")
					if got.code != 0 || got.err != "" {
						t.Fatalf("apply: status %d\n%s%s", got.code, got.out, got.err)
					}
					if d := differences(want, tree(t, l.tree)); len(d) > 0 {
						t.Errorf("after apply:\n%s", strings.Join(d, "\n"))
					}
					l.clean(t)
					if got := l.sbx(t, "diff", "--exit-code"); got.code != 0 || got.out != "" || got.err != "" {
						t.Errorf("diff afterwards: status %d, %s%s", got.code, got.out, got.err)
					}
					after := tree(t, l.tree)
					if got := l.sbx(t, "apply"); got.code != 0 || !maps.Equal(tree(t, l.tree), after) {
						t.Errorf("a second apply: status %d, %s", got.code, got.err)
					}
					l.inside(t, ":") // what is left of the layer shows the same
					if d := differences(after, l.seen(t)); len(d) > 0 {
						t.Errorf("the layer shows afterwards:\n%s", strings.Join(d, "\n"))
					}
				})
			}
		})
	}
}

// checkDiff holds the list of changes to what is expected; "-" is anything.
func checkDiff(t *testing.T, l *layered, want string, same bool) {
	t.Helper()
	var lines []string
	for _, c := range l.changes(t) {
		s := fmt.Sprintf("%s %s", c.Kind, c.shown())
		if c.From != "" {
			s += " from " + c.From
		}
		lines = append(lines, s)
	}
	slices.Sort(lines)
	expect := strings.Split(want, "\n")
	slices.Sort(expect)
	if want == "" {
		expect = nil
	}
	if want != "-" && !slices.Equal(lines, expect) && (want != "" || same) {
		t.Errorf("diff lists\n%s\nwant\n%s", strings.Join(lines, "\n"), want)
	}
}
