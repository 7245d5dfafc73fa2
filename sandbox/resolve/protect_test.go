package resolve

import (
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
)

func TestProtect(t *testing.T) {
	const w = "/home/dev/proj"
	const protect = "[workspace]\nprotect = [\".envrc\", \".idea\", \"*.ws\", \"a/b/.envrc\", \"a/c/x\", \"**/deep\"]\n"
	for _, tt := range []struct {
		name, text, host string
		want             []string
		notes            []string
	}{
		{name: "nothing is there", text: protect},
		{name: "at the top", text: protect, host: w + "/.envrc\n" + w + "/.idea/x\n" + w + "/my.ws\n" + w + "/other",
			want: []string{w + "/.envrc", w + "/.idea", w + "/my.ws"}},
		{name: "deeper", text: protect, host: w + "/a/b/.envrc\n" + w + "/a/c/x\n" + w + "/d/deep/",
			want: []string{"=" + w + "/a", "=" + w + "/a/b", w + "/a/b/.envrc", "=" + w + "/a/c", w + "/a/c/x", "=" + w + "/d", w + "/d/deep"}},
		{name: "not all of it", text: protect + "unprotect = [\".idea\"]", host: w + "/.envrc\n" + w + "/.idea/x", want: []string{w + "/.envrc"}},
		{name: "what is not protected", text: protect + "unprotect = [\".ide\"]", notes: []string{"workspace.unprotect[0]: .ide is no entry of workspace.protect, and nothing is changed by it"}},
		{name: "a workspace that is read-only", text: strings.Replace(protect, "\n", "\naccess = \"ro\"\n", 1), host: w + "/.envrc"},
		{name: "by another mount too", text: protect + "[mounts.\"/x\"]\nsource = \"" + w + "\"\naccess = \"rw\"", host: w + "/.envrc",
			want: []string{w + "/.envrc", "/x/.envrc"}},
		{name: "by another mount only", text: strings.Replace(protect, "\n", "\naccess = \"ro\"\n", 1) + "[mounts.\"/x\"]\nsource = \"" + w + "/a\"\naccess = \"rw\"", host: w + "/.envrc\n" + w + "/a/b/.envrc",
			want: []string{"=/x/b", "/x/b/.envrc"}},
		{name: "under something else", text: protect + "[mounts.\"" + w + "/a\"]\ntype = \"tmpfs\"", host: w + "/a/b/.envrc"},
		{name: "a link", text: protect, host: w + "/real/x\n" + w + "/.idea -> real\n" + w + "/.envrc -> /etc/hosts\n/etc/hosts",
			want: []string{w + "/real"}, notes: []string{"workspace.protect[0]: " + w + "/.envrc can't be protected: "}},
		{name: "by a link above it", text: protect, host: w + "/real/b/.envrc\n" + w + "/a -> real", want: []string{"=" + w + "/real", "=" + w + "/real/b", w + "/real/b/.envrc"}},
		{name: "a file of several names", text: protect, host: w + "/.envrc *2", want: []string{w + "/.envrc"},
			notes: []string{"workspace.protect[0]: " + w + "/.envrc is protected, but the file has 2 names: it can be written by another of them that is granted"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, tt.text, tt.host))
			var got []string
			for _, g := range guarded(p) {
				target, _, _ := strings.Cut(g, " ")
				got = append(got, target)
			}
			same(t, "guards", got, tt.want)
			for i, n := range notes(p, "warning") {
				if i >= len(tt.notes) || !strings.HasPrefix(n, tt.notes[i]) {
					t.Errorf("note %q, want %q", n, tt.notes)
				}
			}
			if len(notes(p, "warning")) != len(tt.notes) {
				t.Errorf("notes %q, want %q", notes(p, "warning"), tt.notes)
			}
		})
	}
	for _, source := range []string{w + "/.idea", w + "/.idea/sub"} {
		got := faults(t, input(t, protect+"[mounts.\"/x\"]\nsource = \""+source+"\"\naccess = \"rw\"", w+"/.idea/sub/f"))
		if len(got) != 1 || !strings.Contains(got[0], "protected by workspace.protect") {
			t.Errorf("a writable mount of %s: %q", source, got)
		}
	}
}

// TestPinsBeside: what is hidden in two directories of a third is pinned in
// both, although the third is pinned only once.
func TestPinsBeside(t *testing.T) {
	const w = "/home/dev/proj"
	p := planned(t, input(t, "[workspace]\nhide = [\"a/b/k\", \"a/c/k\"]", w+"/a/b/k\n"+w+"/a/c/k"))
	same(t, "guards", guarded(p), []string{"=" + w + "/a " + w + "/a", "=" + w + "/a/b " + w + "/a/b", "=" + w + "/a/c " + w + "/a/c"})
}

// TestPinsAside: what is above a name that is hidden anywhere can be moved, but for where
// another mount would show it then.
func TestPinsAside(t *testing.T) {
	const w, mount = "/home/dev/proj", "[workspace]\nhide = [\"**/k\"]\n[mounts.\""
	pins := []string{"=" + w + "/a " + w + "/a", "=" + w + "/a/b " + w + "/a/b"}
	for _, tt := range []struct {
		name, mount string
		want        []string
	}{
		{"no other", "/x\"]\ntype = \"tmpfs\"", nil},
		{"a part of the workspace", "/x\"]\nsource = \"" + w + "/d\"", pins},
		{"one that is granted later", "/x\"]\ngrantable = true\nsource = \"" + w + "/d\"", pins},
		{"a layer over one", "/x\"]\ntype = \"overlay\"\nupper = \"tmpfs\"\nsource = \"" + w + "/d\"", pins},
		{"in its place", w + "/d\"]\naccess = \"ro\"", nil},
		{"elsewhere", "/x\"]\nsource = \"/home/dev/other\"\naccess = \"rw\"", nil},
		{"what holds it", "/x\"]\nsource = \"" + w + "/a\"", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, mount+tt.mount, w+"/a/b/k\n"+w+"/d/f\n/home/dev/other/"))
			same(t, "guards", guarded(p), tt.want)
		})
	}
}

func TestAudit(t *testing.T) {
	const w = "/home/dev/proj"
	tree := func(source string) sandbox.AuditTree {
		return sandbox.AuditTree{Source: source, IsDir: true, Top: source, Home: "/home/dev"}
	}
	data := "[mounts.\"/d\"]\nsource = \"/data\"\naccess = \"rw\"\n"
	part := "[mounts.\"/p\"]\nsource = \"" + w + "/a\"\naccess = \"rw\"\n"
	home := tree("/home/dev")
	home.Top = w
	pinned := tree(w)
	pinned.Pins = []string{w + "/a", w + "/a/.idea"}
	for _, tt := range []struct {
		name, text string
		want       []sandbox.AuditTree
	}{
		{"the workspace", "", []sandbox.AuditTree{tree(w)}},
		{"and more", data, []sandbox.AuditTree{tree("/data"), tree(w)}},
		{"a part of it once more", part, []sandbox.AuditTree{tree(w)}},
		{"a workspace that is read-only", "[workspace]\naccess = \"ro\"\n", nil},
		{"off", "[workspace]\naudit = \"off\"\n", nil},
		{"a home that is kept", "home.mode = \"persistent\"\n", []sandbox.AuditTree{tree(w)}},
		{"the home", "[home]\nmode = \"host\"\naccess = \"rw\"\n", []sandbox.AuditTree{home}},
		{"what is protected", "[workspace]\nprotect = [\"a/.idea\"]\n", []sandbox.AuditTree{pinned}},
		{"what is protected by one of two", "[workspace]\nprotect = [\"a/.idea\"]\n" + part, []sandbox.AuditTree{tree(w)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, input(t, tt.text, "/data/x\n"+w+"/a/.idea/x"))
			same(t, "trees", p.Audit.Trees, tt.want)
		})
	}
	p := planned(t, input(t, "root = { source = \"/\", read_only = false }"))
	if got := notes(p, "degraded"); len(got) != 1 || !strings.Contains(got[0], "the host's root can be written") {
		t.Errorf("with a root that can be written: %q", got)
	}
}
