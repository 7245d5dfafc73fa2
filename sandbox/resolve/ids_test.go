package resolve

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/userns"
)

func TestIDs(t *testing.T) {
	keepU, keepG := userns.Keep(1000, userns.Range{Start: 100000, Count: 65536}), userns.Keep(1000, userns.Range{Start: 200000, Count: 65536})
	rootU, rootG := userns.Root(1000, userns.Range{Start: 100000, Count: 65536}), userns.Root(1000, userns.Range{Start: 200000, Count: 65536})
	self := userns.Self(1000, 1000)
	two := userns.Map{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 100000, Count: 9}}
	single := sandbox.IDs{Mode: "single", OuterUIDs: self, OuterGIDs: self, InnerUIDs: self, InnerGIDs: self, UID: 1000, GID: 1000, From: "user.map"}
	ranged := func(mode string, u, g userns.Map, id uint32) sandbox.IDs {
		return sandbox.IDs{
			Mode: "range", OuterUIDs: u, OuterGIDs: g, InnerUIDs: u.Identity(), InnerGIDs: g.Identity(), UID: id, GID: id,
			NewUIDMap: "/usr/bin/newuidmap", NewGIDMap: "/usr/bin/newgidmap", From: mode,
		}
	}
	fake := single
	fake.InnerUIDs, fake.InnerGIDs, fake.UID, fake.GID = userns.Self(0, 1000), userns.Self(0, 1000), 0, 0
	const maps = "uid_map = [\"0:1000:1\", \"1:100000:9\"]\ngid_map = [\"0:1000:1\", \"1:100000:9\"]"
	for _, tt := range []struct {
		name, text string
		want       sandbox.IDs
	}{
		{"default", "", single},
		{"single", "[user]\nmap = \"single\"", single},
		{"fake root", "[user]\nas = \"root\"", fake},
		{"range", "[user]\nmap = \"range\"", ranged("user.map", keepU, keepG, 1000)},
		{"range as root", "[user]\nmap = \"range\"\nas = \"root\"", ranged("user.map", rootU, rootG, 0)},
		{"explicit", "[user]\n" + maps, ranged("user.uid_map", two, two, 0)},
		{"explicit as root", "[user]\nas = \"root\"\n" + maps, ranged("user.uid_map", two, two, 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			same(t, "ids", planned(t, input(t, tt.text)).IDs, tt.want)
		})
	}
}

func TestIDFaults(t *testing.T) {
	noRange := func(f *host.Facts) { f.RangeErr = errors.New("no line for dev") }
	for _, tt := range []struct {
		name, text string
		change     func(*host.Facts)
		want       []string
	}{
		{"no range", "[user]\nmap = \"range\"", noRange, []string{`user.map: a range of ids can't be had: no line for dev; or set user.map = "single"`}},
		{"no range for explicit maps", "[user]\nuid_map = [\"0:1000:1\"]\ngid_map = [\"0:1000:1\"]", noRange, []string{"user.uid_map: explicit id maps can't be had: no line for dev"}},
		{"a range is not asked for", "", noRange, nil},
		{
			"the grant holds the own id", "[user]\nmap = \"range\"", func(f *host.Facts) {
				f.SubUIDs, f.SubGIDs = userns.Range{Start: 1, Count: 65536}, userns.Range{Start: 1000, Count: 1}
			},
			[]string{
				`user.map: the subordinate ids 1:65536 hold your own uid 1000; an administrator can choose others in /etc/subuid; or set user.map = "single"`,
				`user.map: the subordinate ids 1000:1 hold your own gid 1000; an administrator can choose others in /etc/subgid; or set user.map = "single"`,
			},
		},
		{
			"maps that leave out the caller", "[user]\nuid_map = [\"0:100000:1\"]\ngid_map = [\"0:1000:1\"]", nil,
			[]string{`user.uid_map: the map leaves out your own id 1000; add a line such as "1000:1000:1"`},
		},
		{
			"root that is not", "[user]\nas = \"root\"\nuid_map = [\"5:1000:1\"]\ngid_map = [\"0:1000:1\"]", nil,
			[]string{`user.uid_map: user.as = "root", yet the map makes your id 5 inside; map it as "0:1000:1"`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			if tt.change != nil {
				tt.change(&in.Facts)
			}
			same(t, "errors", faults(t, in), tt.want)
		})
	}
	t.Run("overlapping maps", func(t *testing.T) {
		in := input(t, "[user]\nuid_map = [\"0:1000:1\"]\ngid_map = [\"0:1000:1\"]")
		in.Profile.User.UIDMap = append(in.Profile.User.UIDMap, profiles.IDMap{Inside: 0, Outside: 5, Count: 1})
		same(t, "errors", faults(t, in), []string{"user.uid_map: this map can't be used: 0:1000:1 and 0:5:1 overlap inside"})
	})
}

func TestGroupsNote(t *testing.T) {
	const text = "user.map: the caller's supplementary groups stay in effect inside: with one mapped id the kernel does not let them be dropped (user_namespaces(7))"
	for _, tt := range []struct {
		name, text string
		groups     []uint32
		want       []string
	}{
		{"own group", "", []uint32{1000}, nil},
		{"none", "", nil, nil},
		{"another", "", []uint32{27}, []string{text}},
		{"several", "", []uint32{1000, 27}, []string{text}},
		{"a range lets them be dropped", "[user]\nmap = \"range\"", []uint32{1000, 27}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text)
			in.Facts.Groups = tt.groups
			same(t, "notes", notes(planned(t, in), "info"), tt.want)
		})
	}
}

func builtins(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("../../profiles/builtin/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no built-in profile", err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".toml"))
	}
	return names
}

// TestShape: what is told from the profile alone is what the plan comes to.
func TestShape(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	flip := func() bool { return random.IntN(2) == 0 }
	one := func(list ...string) string { return list[random.IntN(len(list))] }
	check := func(name string, in Input) {
		for range 8 {
			for fd := range in.Facts.Stdio {
				in.Facts.Stdio[fd].Terminal = flip()
			}
			p, err := Plan(in)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			same(t, name, Shape(in.Profile, in.Facts.Stdio), p.Shape())
		}
	}
	for _, name := range builtins(t) {
		in := input(t, "extends = [\"builtin:"+name+"\"]\n[security]\nallow_root = true")
		check(name, in)
	}
	for range 100 {
		in := input(t, "")
		n := &in.Profile.Namespaces
		n.IPC, n.UTS, n.Cgroup, n.Time = one("private", "host"), one("private", "host"), one("private", "host"), one("private", "host")
		in.Profile.Network.Mode = one("none", "host")
		in.Profile.Process.TTY = one("auto", "always", "never")
		in.Profile.User.Map, in.Profile.User.As = one("auto", "single", "range"), one("keep", "root")
		check("random", in)
	}
}
