package resolve

import (
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/userns"
)

// onImage is an input with an image, which change may alter.
func onImage(t testing.TB, text string, change func(*image.Record)) Input {
	t.Helper()
	in := input(t, "root.source = \"image:base\"\n"+text)
	r := &image.Record{
		Version: 1, ID: strings.Repeat("ab", 32), Layers: []string{"l/TOP", "l/BOTTOM"},
		IDs:    image.IDs{Mode: "range", UIDs: userns.Root(1000, in.Facts.SubUIDs), GIDs: userns.Root(1000, in.Facts.SubGIDs)},
		Passwd: "root:x:0:0::/root:/bin/sh\napp:x:33:34::/srv:/bin/sh\n", Group: "root:x:0:\n",
		Config:  image.Config{Env: []string{"PATH=/bin:rel:/sbin", "A=image", "B=image", "=x", "nothing"}, Entrypoint: []string{"/entry"}, Cmd: []string{"a"}, WorkingDir: "/srv/"},
		Account: image.Account{Home: "/root", Name: "root"},
	}
	if change != nil {
		change(r)
	}
	in.Image = &Image{Dir: "/home/dev/.local/share/sbx/images", Record: r}
	return in
}

func app(r *image.Record) {
	r.Config.User = "app"
	r.Account = image.Account{UID: 33, GID: 34, Name: "app", Home: "/srv"}
	r.Owners = true
}

func TestImageIDs(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		change     func(*image.Record)
		uid, gid   uint32
		mode       string
		inner      string // of uids
		keep       bool   // capabilities of fake root
	}{
		{"nobody named is root", "", nil, 0, 0, "single", "0 1000 1", true},
		{"the caller", "user.as = \"keep\"", nil, 1000, 1000, "single", "1000 1000 1", false},
		{"the image's user, alone", "", app, 33, 34, "single", "33 1000 1", false},
		{"root, a range", "user.map = \"range\"", nil, 0, 0, "range", "0 0 1\n1 1 65536", true},
		{"the image's user, a range", "user.map = \"range\"", app, 33, 34, "range", "0 0 1\n1 1 65536", false},
		{"the caller, a range", "user.map = \"range\"\nuser.as = \"keep\"", app, 1000, 1000, "range", "1000 0 1\n1 1 999\n0 1000 1\n1001 1001 64536", false},
		{"root, not the image's user", "user.as = \"root\"\nuser.map = \"range\"", app, 0, 0, "range", "0 0 1\n1 1 65536", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planned(t, onImage(t, tt.text, tt.change))
			ids := p.IDs
			if ids.UID != tt.uid || ids.GID != tt.gid || ids.Mode != tt.mode || ids.InnerUIDs.String() != tt.inner || (len(p.Security.Keep) > 0) != tt.keep {
				t.Errorf("%+v, keeps %v", ids, p.Security.Keep)
			}
			if tt.mode == "range" && !slices.Equal(ids.OuterUIDs, userns.Root(1000, userns.Range{Start: 100000, Count: 65536})) {
				t.Errorf("outer map %v", ids.OuterUIDs)
			}
		})
	}
}

// TestSwapped: everybody has one id, the caller their own, and root another.
func TestSwapped(t *testing.T) {
	for _, own := range []uint32{1, 2, 500, 999, 1000, 1001, 70000} {
		outer := userns.Root(own, userns.Range{Start: 100000, Count: 1000})
		inner := swapped(outer, own)
		if err := inner.Validate(); err != nil {
			t.Fatal(own, err)
		}
		if in, ok := inner.Inside(0); !ok || in != own {
			t.Errorf("%d: the caller is %d", own, in)
		}
		for id := uint32(1); id <= 1000; id++ {
			want := id
			if id == own {
				want = 0
			}
			if in, ok := inner.Inside(id); !ok || in != want {
				t.Errorf("%d: outer %d is %d", own, id, in)
			}
		}
	}
}

func TestImageProcess(t *testing.T) {
	get := func(p *sandbox.Plan, name string) string { v, _ := lookup(p.Process.Env, name); return v }
	in := onImage(t, "environment.set = { B = \"profile\" }\nenvironment.pass = [\"*\"]", nil)
	in.Facts.Environ = append(in.Facts.Environ, "A=caller", "C=caller", "SHELL=/bin/zsh")
	p := planned(t, in)
	for name, want := range map[string]string{"A": "image", "B": "profile", "C": "caller", "PATH": "/bin:/sbin", "SHELL": "", "HOME": "/home/dev"} {
		if got := get(p, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if !slices.Equal(p.Process.Argv, in.Argv) && len(in.Argv) > 0 {
		t.Errorf("argv %q", p.Process.Argv)
	}
	in.Argv = nil
	p = planned(t, in)
	if !slices.Equal(p.Process.Argv, []string{"/entry", "a"}) || p.Process.Dir != "/srv" {
		t.Errorf("argv %q in %q", p.Process.Argv, p.Process.Dir)
	}
	in = onImage(t, "user.map = \"range\"", app)
	in.Argv = []string{"true"}
	p = planned(t, in)
	if get(p, "HOME") != "/srv" || get(p, "USER") != "app" || get(p, "XDG_RUNTIME_DIR") != "" || p.Process.Dir != "/srv" {
		t.Errorf("an id of the image's own: %q in %q", p.Process.Env, p.Process.Dir)
	}
	if at(p, "/home/dev").Target != "" {
		t.Error("a home that the command can't enter")
	}
}

// TestImageHides: what is hidden is so also where the image has the workspace's place by a
// link, and by other mounts.
func TestImageHides(t *testing.T) {
	in := onImage(t, "workspace.hide = [\"c/env\"]\n[mounts.\"/x\"]\ntype = \"bind\"\nsource = \"/home/dev\"\naccess = \"rw\"", func(r *image.Record) {
		r.Links = map[string]string{"home": "var/home"}
	})
	in.Facts.Files = tree(usual, "/home/dev/proj/c/env @1000")
	p := planned(t, in)
	for _, dir := range []string{"/var/home/dev/proj", "/x/proj"} {
		if m := at(p, dir+"/c/env"); m.Kind != sandbox.Mask {
			t.Errorf("%s/c/env is %+v", dir, m)
		}
		if m := at(p, dir+"/c"); m.Kind != sandbox.Guard {
			t.Errorf("%s/c is %+v", dir, m)
		}
	}
}

func TestImageRoot(t *testing.T) {
	in := onImage(t, "", func(r *image.Record) {
		r.Links = map[string]string{"home": "var/home", "bin": "usr/bin"}
	})
	p := planned(t, in)
	want := sandbox.Image{
		Name: "base", ID: strings.Repeat("ab", 32), Dir: "/home/dev/.local/share/sbx/images/storage/overlay", Layers: []string{"l/TOP", "l/BOTTOM"},
		Scratch: "../../mnt", Lock: "/home/dev/.local/share/sbx/images/records/" + strings.Repeat("ab", 32) + ".lock",
	}
	same(t, "root", p.Root.Image, want)
	if p.Root.ReadOnly || p.Root.Size != 1<<30 {
		t.Errorf("%+v", p.Root)
	}
	for _, m := range p.Mounts {
		if top := m.Target == "/tmp" || m.Target == "/run"; m.Direct != (top || strings.HasPrefix(m.Target, "/run/")) {
			t.Errorf("%s is reached by way of the image without care", m.Target)
		}
		if strings.HasPrefix(m.Target, "/home") {
			t.Errorf("%s lies below a link of the image", m.Target)
		}
	}
	if p := planned(t, onImage(t, "root.read_only = true", nil)); !p.Root.ReadOnly || p.Root.Size != rootSize {
		t.Errorf("%+v", p.Root)
	}
	keep := planned(t, onImage(t, "user.as = \"keep\"", nil))
	if text := at(keep, "/etc/passwd").Content; !strings.Contains(text, "app:x:33") || !strings.Contains(text, "dev:x:1000:1000::/home/dev:") {
		t.Errorf("/etc/passwd: %q", text)
	}
}

func TestImageFaults(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		change     func(*image.Record)
		want       string
	}{
		{"no such user", "", func(r *image.Record) { r.Config.User = "x"; r.Account.Problem = "there is no user \"x\"" }, `root.source: the image runs as "x", but there is no user "x"; set user.as = "keep" or "root"`},
		{"beyond the range", "user.map = \"range\"", func(r *image.Record) { app(r); r.Account.UID = 70000 }, `user.map: the image runs as uid 70000, which is beyond your subordinate ids; set user.as = "keep" or "root"`},
		{"a link where /proc is to be", "", func(r *image.Record) { r.Links = map[string]string{"proc": "home"} }, "root.source: the image base has a symbolic link to /home at /proc, where the sandbox has its own; use another image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := faults(t, onImage(t, tt.text, tt.change)); len(got) != 1 || got[0] != tt.want {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
	in := onImage(t, "", nil)
	in.Image.Record.Config.Entrypoint, in.Image.Record.Config.Cmd, in.Argv = nil, nil, nil
	if got := faults(t, in); len(got) != 1 || !strings.HasPrefix(got[0], "process.command: there is no command to run") {
		t.Errorf("%q", got)
	}
}

// TestImageKept: what is written over an image goes to a layer of the overlay, if
// it is to be kept, and is gone on with only over the same image.
func TestImageKept(t *testing.T) {
	if p := planned(t, onImage(t, "", nil)); p.Root.Upper != "" || p.Root.Size != 1<<30 || p.Overlay.Name != "" {
		t.Errorf("without a name: %+v", p.Root)
	}
	const kept = "root.upper = \"disk\"\n"
	p := planned(t, onImage(t, kept, nil))
	if p.Root.Upper != "root" || p.Root.Work != "root-work" || p.Root.Size != 0 || p.Overlay.Driver != upper.Kernel || p.Overlay.Name != "x-abcd" {
		t.Errorf("kept: %+v, %+v", p.Root, p.Overlay)
	}
	p = planned(t, onImage(t, "overlay.name = \"x-abcd\"\nworkspace.access = \"overlay\"", nil))
	if p.Root.Upper != "root" || at(p, proj).Upper != "upper" {
		t.Errorf("by a name: %+v, %+v", p.Root, at(p, proj))
	}
	p = planned(t, onImage(t, "overlay.name = \"x-abcd\"\nroot.upper = \"tmpfs\"", nil))
	if p.Root.Upper != "" || p.Root.Size != 1<<30 {
		t.Errorf("in memory all the same: %+v", p.Root)
	}
	record := func(change func(*upper.Record)) *upper.Record {
		r := recorded()
		r.Layers = []upper.Layer{{Target: "/", Lower: []string{"/l"}, Image: strings.Repeat("ab", 32), Upper: "root", Work: "root-work"}}
		change(r)
		return r
	}
	const not = "overlay.name: the overlay x-abcd can't be gone on with: "
	const hint = "; choose another name, or discard it: sbx discard x-abcd"
	for _, tt := range []struct {
		name, text string
		do         func(*Input, *fakeFiles)
		want       []string
	}{
		{"the same", "", func(in *Input, _ *fakeFiles) { in.Overlay = record(func(*upper.Record) {}) }, nil},
		{"another image's", "", func(in *Input, _ *fakeFiles) {
			in.Overlay = record(func(r *upper.Record) { r.Layers[0].Image = strings.Repeat("cd", 32) })
		}, []string{not + "it lies over the image cdcdcdcdcdcd, and base is abababababab" + hint}},
		{"the host's", "", func(in *Input, _ *fakeFiles) { in.Overlay = recorded() }, []string{not + "it has no layer for the root" + hint}},
		{"by fuse-overlayfs", "overlay.backend = \"fuse-overlayfs\"", nil, []string{
			"root.upper: what is written over an image can be kept only by the kernel's overlayfs; set overlay.backend = \"auto\", or root.upper = \"tmpfs\""}},
		{"where it can't be", "", func(_ *Input, f *fakeFiles) { f.layering["/overlays"] = host.Layering{Type: "nfs4"} }, []string{
			"root.upper: what is written over an image can be kept only by the kernel's overlayfs: /overlays lies on nfs4, which overlayfs does not write to; set root.upper = \"tmpfs\""}},
		{"nowhere", "", func(in *Input, _ *fakeFiles) { in.Overlays = "" }, []string{
			"overlay.upper: there is no place to keep changes; set HOME to your home directory, or overlay.upper = \"tmpfs\""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := onImage(t, kept+tt.text, nil)
			f := tree(usual)
			f.layering, f.drivers.Fuse = map[string]host.Layering{}, "/usr/bin/fuse-overlayfs"
			in.Facts.Files = f
			if tt.do != nil {
				tt.do(&in, f)
			}
			if tt.want == nil {
				if p := planned(t, in); !p.Overlay.Again {
					t.Errorf("not gone on with: %+v", p.Overlay)
				}
				return
			}
			if got := faults(t, in); !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}
