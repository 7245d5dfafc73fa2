package resolve

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/userns"
)

const (
	overlaid = "workspace.access = \"overlay\"\nhome.mode = \"none\"\n"
	proj     = "/home/dev/proj"
)

// kept is the record of an earlier run of overlaid.
func recorded() *upper.Record {
	self := userns.Self(1000, 1000)
	return &upper.Record{
		Version: upper.RecordVersion, Name: "x-abcd", Driver: upper.Kernel, Created: time.Unix(1, 0),
		Layers: []upper.Layer{{Target: proj, Lower: []string{proj}, Upper: "upper", Work: "work"}},
		IDs:    upper.IDs{Mode: "single", UIDs: self, GIDs: self},
	}
}

// ranged is an overlay that was made with the caller's subordinate ids.
func ranged(in *Input) *upper.Record {
	rec := recorded()
	rec.IDs = upper.IDs{Mode: "range", UIDs: userns.Keep(in.Facts.UID, in.Facts.SubUIDs), GIDs: userns.Keep(in.Facts.GID, in.Facts.SubGIDs)}
	return rec
}

func TestLayers(t *testing.T) {
	files := tree(usual)
	files.drivers.Fuse = "/usr/bin/fuse-overlayfs"
	change := func(text string, do func(*Input, *fakeFiles)) *sandbox.Plan {
		t.Helper()
		f := *files
		f.layering = map[string]host.Layering{}
		in := input(t, text)
		in.Facts.Files = &f
		if do != nil {
			do(&in, &f)
		}
		return planned(t, in)
	}

	p := change(overlaid, nil)
	m := at(p, proj)
	if m.Kind != sandbox.Layers || m.Upper != "upper" || m.Work != "work" || m.Own != true || m.ReadOnly {
		t.Errorf("the workspace is %+v", m)
	}
	same(t, "overlay", p.Overlay, sandbox.Overlay{Name: "x-abcd", Unnamed: true, Store: "/overlays", Driver: "kernel", Dir: proj, OnExit: sandbox.Keep})
	if len(p.Audit.Trees) > 0 || len(p.Create) > 0 {
		t.Errorf("audited: %v, made: %v", p.Audit.Trees, p.Create)
	}

	// Of several, the workspace's is the first, whatever its path.
	p = change(overlaid+"[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/usr\"", nil)
	if at(p, proj).Upper != "upper" || at(p, "/a").Upper != "upper-1" || at(p, "/a").Work != "work-1" {
		t.Errorf("%+v %+v", at(p, proj), at(p, "/a"))
	}

	// Several directories, the topmost first. Of one that may be missing the rest is left.
	const stacked = "[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/usr/bin\"\nlower = [\"/usr/none\", \"/etc\", \"/home/dev/proj\"]\noptional = true"
	if m := at(change(stacked, nil), "/a"); m.Source != "/usr/bin" || !slices.Equal(m.Lower, []string{"/etc", proj}) || m.Upper != "upper" {
		t.Errorf("%+v", m)
	}

	// In memory nothing is kept, and there is a size.
	p = change(overlaid+"overlay.upper = \"tmpfs\"", nil)
	if m := at(p, proj); m.Upper != "" || m.Size != 512<<20 || p.Overlay.Name != "" || p.Overlay.Driver != "kernel" {
		t.Errorf("%+v %+v", m, p.Overlay)
	}

	// What the kernel can't, fuse-overlayfs does.
	for name, do := range map[string]func(*Input, *fakeFiles){
		"old kernel":                      func(_ *Input, f *fakeFiles) { f.drivers.Kernel = errors.New("too old") },
		"kept on an overlay":              func(_ *Input, f *fakeFiles) { f.layering["/overlays"] = host.Layering{Type: "overlay"} },
		"kept over a network":             func(_ *Input, f *fakeFiles) { f.layering["/overlays"] = host.Layering{Type: "fuse.sshfs"} },
		"kept on a disk that fuse serves": func(_ *Input, f *fakeFiles) { f.layering["/overlays"] = host.Layering{Type: "fuseblk"} },
		"something is mounted": func(_ *Input, f *fakeFiles) {
			f.layering[proj] = host.Layering{Type: "ext4", Mounts: []string{proj + "/sub"}}
		},
		"the profile wants it":   func(in *Input, _ *fakeFiles) { in.Profile.Overlay.Backend = "fuse-overlayfs" },
		"the earlier run had it": func(in *Input, _ *fakeFiles) { in.Overlay = recorded(); in.Overlay.Driver = upper.Fuse },
	} {
		if p := change(overlaid, do); p.Overlay.Driver != "fuse-overlayfs" || p.Overlay.Program != "/usr/bin/fuse-overlayfs" {
			t.Errorf("%s: %+v", name, p.Overlay)
		}
	}

	p = change(overlaid, func(in *Input, _ *fakeFiles) { in.Overlay = recorded() })
	if !p.Overlay.Again {
		t.Error("an overlay that is there is not gone on with")
	}

	// A volume is a directory of sbx's own.
	p = change("[mounts.\"/v\"]\ntype = \"volume\"\nsource = \"go\"", nil)
	if m := at(p, "/v"); m.Kind != sandbox.Bind || m.Source != "/volumes/go" || !m.Private || m.ReadOnly || !slices.Equal(p.Create, []string{"/volumes/go"}) {
		t.Errorf("%+v, made %v", m, p.Create)
	}
	p = change("[mounts.\"/v\"]\ntype = \"volume\"\nsource = \"go\"\naccess = \"overlay\"", nil)
	if m := at(p, "/v"); m.Kind != sandbox.Layers || m.Source != "/volumes/go" || m.Upper != "upper" {
		t.Errorf("%+v", m)
	}
}

func TestLayersRepository(t *testing.T) {
	// In an overlay the repository is written like the rest, and hidden if it is
	// to be.
	in := input(t, overlaid, "/home/dev/proj/.git/config", "/home/dev/proj/.git/hooks/")
	if p := planned(t, in); at(p, proj+"/.git").Target != "" {
		t.Errorf("guarded: %+v", at(p, proj+"/.git"))
	}
	in = input(t, overlaid+"workspace.git = \"hide\"\nworkspace.hide = [\"sub\"]", "/home/dev/proj/.git/config")
	p := planned(t, in)
	if at(p, proj+"/.git").Kind != sandbox.Mask || at(p, proj+"/sub").Kind != sandbox.Mask {
		t.Errorf("%+v", p.Mounts)
	}
}

func TestLayersFaults(t *testing.T) {
	noFuse := func(f *fakeFiles) { f.drivers.FuseErr = errors.New("fuse-overlayfs is not installed") }
	for _, tt := range []struct {
		name, text string
		do         func(*Input, *fakeFiles)
		want       string
	}{
		{"over a file", "[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/etc/hosts\"", nil, "mounts./a: /etc/hosts is no directory, and layers are made of directories; name the directory that holds it"},
		{"a file as a layer", "[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/usr\"\nlower = [\"/etc/hosts\"]", nil, "mounts./a.lower[0]: /etc/hosts is no directory, and layers are made of directories; name other directories"},
		{"a layer in another", "[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/etc\"\nlower = [\"/usr/bin\", \"/usr\"]", nil, "mounts./a.lower[1]: /usr and /usr/bin can't be layers of one overlay: one is the other, or lies in it; name other directories"},
		{"a layer that is not there", "[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/usr\"\nlower = [\"/none\"]", nil, "mounts./a.lower[0]: binding /none: open /none: no such file or directory; create it, or set optional = true"},
		{"a layer of what is kept", "[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/usr\"\nlower = [\"/home/dev\"]", func(in *Input, _ *fakeFiles) { in.StateDirs = []string{"/home/dev/.local/share/sbx"} },
			"mounts./a: /home/dev holds sbx's own directory /home/dev/.local/share/sbx, where the changes are kept; name a directory in it, or keep the changes in memory (overlay.upper = \"tmpfs\")"},
		{"over what is kept", "[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/home/dev\"", func(in *Input, _ *fakeFiles) { in.StateDirs = []string{"/home/dev/.local/share/sbx"} },
			"mounts./a: /home/dev holds sbx's own directory /home/dev/.local/share/sbx, where the changes are kept; name a directory in it, or keep the changes in memory (overlay.upper = \"tmpfs\")"},
		{"neither", overlaid, func(_ *Input, f *fakeFiles) { f.drivers.Kernel = errors.New("too old"); noFuse(f) },
			"overlay.backend: no layers can be made: the kernel can't (too old), and fuse-overlayfs can't be used: fuse-overlayfs is not installed; keep the changes in memory (overlay.upper = \"tmpfs\"), or see sbx doctor for fuse-overlayfs"},
		{"the kernel is to", overlaid + "overlay.backend = \"kernel\"", func(_ *Input, f *fakeFiles) { f.layering["/overlays"] = host.Layering{Type: "nfs4"} },
			"overlay.backend: the kernel can't make these layers: /overlays lies on nfs4, which overlayfs does not write to; set overlay.backend = \"auto\" for fuse-overlayfs, or keep the changes in memory (overlay.upper = \"tmpfs\")"},
		{"fuse is to", overlaid + "overlay.backend = \"fuse-overlayfs\"", func(_ *Input, f *fakeFiles) { noFuse(f) },
			"overlay.backend: fuse-overlayfs can't be used: fuse-overlayfs is not installed; set overlay.backend = \"kernel\", or see sbx doctor"},
		{"memory of an old kernel", overlaid + "overlay.upper = \"tmpfs\"\noverlay.backend = \"kernel\"", func(_ *Input, f *fakeFiles) { f.drivers.Memory = errors.New("takes Linux 6.6"); noFuse(f) },
			"overlay.backend: the kernel can't make these layers: takes Linux 6.6; keep the changes in memory (overlay.upper = \"tmpfs\"), or see sbx doctor for fuse-overlayfs"},
		{"another driver's", overlaid + "overlay.backend = \"kernel\"", func(in *Input, _ *fakeFiles) { in.Overlay = recorded(); in.Overlay.Driver = upper.Fuse },
			"overlay.name: the overlay x-abcd can't be gone on with: fuse-overlayfs made it, whose marks for what is deleted kernel does not know; choose another name, or discard it: sbx discard x-abcd"},
		{"another directory's", overlaid, func(in *Input, _ *fakeFiles) { in.Overlay = recorded(); in.Overlay.Layers[0].Lower[0] = "/other" },
			"overlay.name: the overlay x-abcd can't be gone on with: it lies over /other, and this would over /home/dev/proj; choose another name, or discard it: sbx discard x-abcd"},
		{"another place's", overlaid, func(in *Input, _ *fakeFiles) { in.Overlay = recorded(); in.Overlay.Layers[0].Target = "/other" },
			"overlay.name: the overlay x-abcd can't be gone on with: it has no layer for /home/dev/proj; choose another name, or discard it: sbx discard x-abcd"},
		{"other ids'", overlaid + "user.map = \"range\"", func(in *Input, _ *fakeFiles) { in.Overlay = recorded() },
			"overlay.name: the overlay x-abcd can't be gone on with: its files belong to other ids than exist here (it has user.map = \"single\"); choose another name, or discard it: sbx discard x-abcd"},
		{"a range's", overlaid + "user.map = \"single\"", func(in *Input, _ *fakeFiles) { in.Overlay = ranged(in) },
			"overlay.name: the overlay x-abcd can't be gone on with: its files belong to other ids than exist here (it has user.map = \"range\"); choose another name, or discard it: sbx discard x-abcd"},
		{"a range's, of fake root", overlaid + "user.map = \"range\"\nuser.as = \"root\"", func(in *Input, _ *fakeFiles) { in.Overlay = ranged(in) },
			"overlay.name: the overlay x-abcd can't be gone on with: its files belong to other ids than exist here (it has user.map = \"range\"); choose another name, or discard it: sbx discard x-abcd"},
		{"a range's, without one", overlaid + "user.map = \"range\"", func(in *Input, _ *fakeFiles) {
			in.Overlay = ranged(in)
			in.Facts.RangeErr = errors.New("no line for dev")
		},
			"user.map: a range of ids can't be had: no line for dev; or set user.map = \"single\""},
		{"nowhere to keep", overlaid, func(in *Input, _ *fakeFiles) { in.Overlays = "" }, "overlay.upper: there is no place to keep changes; set HOME to your home directory, or overlay.upper = \"tmpfs\""},
		{"no volumes", "[mounts.\"/v\"]\ntype = \"volume\"\nsource = \"go\"", func(in *Input, _ *fakeFiles) { in.VolumesDir = "" }, "mounts./v: there is no place to keep volumes; set HOME to your home directory"},
		{"no /dev", overlaid + "root.source = \"/\"\nroot.dev = \"none\"\nroot.tmp = 0", nil, "workspace.access: with the host's tree as the root, layers are made in the sandbox's /dev; set root.dev = \"minimal\""},
		{"nothing to put it on", overlaid + "[mounts.\"/home/dev/proj/new\"]\ntype = \"tmpfs\"", nil,
			"mounts./home/dev/proj/new: /home/dev/proj/new does not exist in /home/dev/proj, and sbx makes nothing in a host's tree; create it on the host, choose an existing target, or mount a tmpfs on its parent directory"},
		{"required and not there", "policy.require = [\"overlay\"]", nil, "policy.require[0]: overlay is required, but the profile sets nothing of the kind; set it, or drop the requirement; sbx explain lists the features"},
		{"a bound that is required", overlaid + "overlay.size = \"1G\"\npolicy.require = [\"overlay\", \"overlay_size\"]", nil,
			"policy.require[1]: overlay_size is required and is degraded here: on disk the size is looked at once a second: a fast writer gets past it before the sandbox is ended; see sbx doctor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			f := tree(usual)
			f.layering, f.drivers.Fuse = map[string]host.Layering{}, "/usr/bin/fuse-overlayfs"
			in.Facts.Files = f
			if tt.do != nil {
				tt.do(&in, f)
			}
			if got := faults(t, in); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), tt.want)
			}
		})
	}
}

// TestHomeLayers: the home's changes are kept as the workspace's.
func TestHomeLayers(t *testing.T) {
	const private = "home.mode = \"persistent\"\nhome.access = \"overlay\"\n"
	p := planned(t, input(t, private))
	m := at(p, "/home/dev")
	if m.Kind != sandbox.Layers || m.Upper != "upper" || !m.Private || m.Source != "/homes/x" || !slices.Contains(p.Create, "/homes/x") || p.Overlay.Name == "" {
		t.Errorf("%+v, %+v", m, p.Overlay)
	}
	if w := at(p, proj); !w.Own || w.Direct { // made in the layer, without following links
		t.Errorf("the workspace in it: %+v", w)
	}
	p = planned(t, input(t, private+"workspace.access = \"overlay\"\noverlay.size = \"1G\""))
	if at(p, proj).Upper != "upper" || at(p, "/home/dev").Upper != "upper-1" || at(p, "/home/dev").Size != 1<<30 {
		t.Errorf("with the workspace's: %+v, %+v", at(p, proj), at(p, "/home/dev"))
	}
	p = planned(t, input(t, private+"overlay.upper = \"tmpfs\""))
	if m := at(p, "/home/dev"); m.Upper != "" || m.Size != 512<<20 || p.Overlay.Name != "" {
		t.Errorf("in memory: %+v, %+v", m, p.Overlay)
	}
	in := input(t, "home.mode = \"host\"\nhome.access = \"overlay\"\noverlay.upper = \"tmpfs\"")
	if m := at(planned(t, in), "/home/dev"); m.Kind != sandbox.Layers || m.Private || m.Source != "/home/dev" {
		t.Errorf("the host's: %+v", m)
	}
	in = input(t, "home.mode = \"host\"\nhome.access = \"overlay\"")
	in.StateDirs = []string{"/home/dev/.local/share/sbx"}
	want := "home.access: /home/dev holds sbx's own directory /home/dev/.local/share/sbx, where the changes are kept; name a directory in it, or keep the changes in memory (overlay.upper = \"tmpfs\")"
	if got := faults(t, in); !slices.Equal(got, []string{want}) {
		t.Errorf("the host's, on disk: %v", got)
	}
	p = planned(t, input(t, "home.mode = \"persistent\"\nhome.access = \"ro\""))
	if m := at(p, "/home/dev"); m.Kind != sandbox.Bind || !m.ReadOnly {
		t.Errorf("read-only: %+v", m)
	}
}

// TestLayersSize: a bound on disk is hard where no more than that can lie.
func TestLayersSize(t *testing.T) {
	for _, tt := range []struct {
		text      string
		total     int64
		state, by string
	}{
		{"", 1 << 30, "", ""},
		{"overlay.size = \"1G\"", 0, "degraded", "soft"},
		{"overlay.size = \"1G\"", 1<<30 + 1, "degraded", "soft"},
		{"overlay.size = \"1G\"", 1 << 30, "enforced", "hard, no more than 1024 MiB can lie in /overlays: by a project quota, or its file system's size"},
		{"overlay.size = \"1G\"\n[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/usr\"\nsize = \"512M\"", 1 << 30, "degraded", "soft"},
		{"overlay.size = \"1G\"\noverlay.upper = \"tmpfs\"", 1 << 20, "enforced", "hard, the size of a tmpfs"},
	} {
		in := input(t, overlaid+tt.text)
		f := tree(usual)
		f.layering = map[string]host.Layering{"/overlays": {Type: "ext4", Total: tt.total}}
		in.Facts.Files = f
		p := planned(t, in)
		var state, by string
		for _, x := range p.Features {
			if x.Name == "overlay_size" {
				state, by = x.State, x.By
			}
		}
		if state != tt.state || by != tt.by {
			t.Errorf("%q, %d bytes: %s %s", tt.text, tt.total, state, by)
		}
	}
}
