package resolve

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden keeps whole plans of the usual host. sandbox/program compiles the
// same files.
func TestGolden(t *testing.T) {
	terminals := func(f *host.Facts) { f.Stdio = [3]host.Stdio{{Terminal: true}, {Terminal: true}, {}} }
	const own = "root.source = \"empty\"\nhome.mode = \"none\"\nworkspace.access = \"none\"\n"
	for _, tt := range []struct {
		name, text, host string
		change           func(*Input)
	}{
		{"build", "extends = [\"builtin:build\"]", "", nil},
		{"equal", "extends = [\"builtin:build\"]\n[root]\nsource = \"/\"", "", nil},
		{"range", "user.map = \"range\"", "", nil},
		{"fakeroot", "user.as = \"root\"", "", nil},
		{"terminal", own, "", func(in *Input) { terminals(&in.Facts) }},
		{"pipes", "process.tty = \"never\"\n" + own, "", func(in *Input) { terminals(&in.Facts) }},
		{"kept", "home.mode = \"persistent\"\nhome.share = [\"~/.gitconfig\"]", "", nil},
		{"masks", "home.mode = \"host\"\nhome.hide = [\"~/.ssh\", \"~/.gitconfig\"]\nworkspace.hide = [\"**/.env\"]", "/home/dev/proj/sub/.env", nil},
		{"files", own + "[mounts.\"/usr\"]\n[mounts.\"/usr/bin/true\"]\ntype = \"file\"\ncontent = \"#!/bin/sh\\n\"\nmode = \"0755\"\n[mounts.\"/ro\"]\ntype = \"tmpfs\"\naccess = \"ro\"\n" +
			"[mounts.\"/ro/f\"]\ntype = \"file\"\ncontent = \"\\u0000\"\n[mounts.\"/ro/t\"]\ntype = \"tmpfs\"", "", nil},
		{"guards", own + "[mounts.\"/home/dev\"]\naccess = \"rw\"", "", func(in *Input) { in.Profile.Files = []string{"/home/dev/proj/x.toml"} }},
		{"user-network", own + "network = { mode = \"user\", allow = [\"example.org:443\", \"udp://192.0.2.0/24:123\"], deny = [\"@lan\"], publish = [\"8080:80\"], hosts = [\"db:192.0.2.7\"], audit = \"denied\", rate = \"1M\" }", "", nil},
		{"plain-network", own + "network = { mode = \"user\", backend = \"pasta\", allow = [\"192.0.2.7:80\"] }", "", nil},
		{"named-network", own + "network = { mode = \"network:dev\", aliases = [\"db\"] }", "", func(in *Input) {
			in.Networks = map[string]Named{"dev": {IPv4: netip.MustParsePrefix("10.89.0.0/24"), IPv6: netip.MustParsePrefix("fd53:6278:a59::/64")}}
		}},
		{"joined-network", own + "network.mode = \"sandbox:db\"", "", func(in *Input) {
			in.Joined = &sandbox.Join{Name: "db", UID: 0, GID: 0, MaxUserNS: 1, Resolv: "nameserver 10.0.2.2\n", Hosts: "10.0.2.2 host.sbx.internal\n"}
			in.Egress, in.EgressBy = "enforced", "sbx-net, which lets nothing out"
		}},
		{"git", "root.source = \"empty\"\nhome.mode = \"none\"\nworkspace.git = \"guard\"", worktree, nil},
		{"overlay", "root.source = \"empty\"\nhome.mode = \"none\"\nworkspace.access = \"overlay\"\noverlay.size = \"1G\"\n[mounts.\"/a\"]\ntype = \"overlay\"\nsource = \"/usr\"\nupper = \"tmpfs\"\nexec = false\n" +
			"[mounts.\"/c\"]\ntype = \"volume\"\nsource = \"cache\"\naccess = \"overlay\"", "", nil},
		{"served", "root.source = \"/\"\nuser.map = \"range\"\nworkspace.access = \"overlay\"\noverlay.backend = \"fuse-overlayfs\"", "", func(in *Input) { in.Facts.Files.(*fakeFiles).drivers.Fuse = "/usr/bin/fuse-overlayfs" }},
		{"inplace", "root.source = \"/\"\nworkspace.access = \"overlay\"", "", nil},
		{"limits", own + "[limits]\nmemory = \"64M\"\ncpus = 0.2\ncpuset = \"0-1\"\nprocesses = 50", "", func(in *Input) { in.Facts.Cgroup = withSystemd("cpu", "memory", "pids") }},
		{"delegate", own + "limits.delegate = true", "", func(in *Input) { in.Facts.Cgroup = withSystemd("cpu", "memory", "pids") }},
		{"image-kept", "root.source = \"image:base\"\noverlay.name = \"x-abcd\"\nroot.size = \"4G\"", "", func(in *Input) { in.Image = onImage(t, "", nil).Image }},
		{"image", "user.map = \"range\"\nroot.source = \"image:base\"", "", func(in *Input) { in.Image = onImage(t, "", app).Image }},
		{"time", own + "[process]\nnice = 5\noom_score_adj = 100\n[namespaces]\ntime = \"private\"", "", func(in *Input) {
			in.Profile.Namespaces.TimeMonotonic, in.Profile.Namespaces.TimeBoottime = -1500*time.Millisecond, time.Hour
		}},
		{"bare", "extends = [\"builtin:build\"]\nsecurity.fallback = \"landlock\"\n[environment.set]\nCACHE = \"${HOME}/.cache\"", "/home/dev/proj/.git/config", refuses},
		{"bareterminal", "security.fallback = \"landlock\"\nhome.mode = \"host\"\nhome.hide = [\"~/.ssh\"]\nnetwork.mode = \"host\"", "", func(in *Input) { refuses(in); terminals(&in.Facts) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.text, tt.host)
			in.Argv = []string{"true", "--version"}
			if tt.change != nil {
				tt.change(&in)
			}
			p := planned(t, in)
			text, err := json.MarshalIndent(p, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", tt.name+".plan.json"), append(text, '\n'))
			var again sandbox.Plan
			if err := json.Unmarshal(text, &again); err != nil || again.Validate() != nil {
				t.Fatal(err, again.Validate())
			}
			if again.Create == nil && len(p.Create) == 0 {
				again.Create = p.Create
			}
			if !reflect.DeepEqual(&again, p) {
				t.Errorf("a round trip changed\n%+v\ninto\n%+v", p, &again)
			}
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed; go test -update, then look at the difference. Now it is\n%s", file, got)
	}
}
