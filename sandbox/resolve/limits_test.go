package resolve

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

const groups = "/sys/fs/cgroup"

// withSystemd is what a session of systemd's has: by default the controllers
// that it gives to users.
func withSystemd(controllers ...string) host.Cgroup {
	return host.Cgroup{
		Root: groups, Socket: "/run/user/1000/systemd/private", Scope: "/usr/libexec/sbx/sbx-scope", CPUs: []int{0, 1, 2, 3},
		Systemd: host.Maker{Group: groups + "/user.slice/user-1000.slice/user@1000.service", Controllers: controllers},
		Subtree: host.Maker{Err: errors.New("not delegated")},
	}
}

func delegated(controllers ...string) host.Cgroup {
	return host.Cgroup{Root: groups, Leave: true, CPUs: []int{0, 1},
		Systemd: host.Maker{Err: errors.New("there is no systemd of yours")}, Subtree: host.Maker{Group: groups + "/mine", Controllers: controllers}}
}

func TestGroupLimits(t *testing.T) {
	usual := withSystemd("cpu", "memory", "pids")
	for _, tt := range []struct {
		name, text string
		host       host.Cgroup
		by         sandbox.CgroupBy
		want       cgroup.Limits
		from       string
	}{
		{"none asked for", "", usual, "", cgroup.Limits{}, ""},
		{"processes alone take none", "processes = 10", usual, "", cgroup.Limits{}, ""},
		{"memory", "memory = \"1G\"", usual, "systemd", cgroup.Limits{MemoryMax: 1 << 30, SwapMax: cgroup.None, OOMGroup: true}, "limits.memory"},
		{"memory with swap", "memory = \"1G\"\nswap = \"2G\"\noom_kill = \"process\"", usual, "systemd", cgroup.Limits{MemoryMax: 1 << 30, SwapMax: 2 << 30}, "limits.memory"},
		{"memory with all of the swap", "memory = \"1G\"\nswap = \"unlimited\"", usual, "systemd", cgroup.Limits{MemoryMax: 1 << 30, OOMGroup: true}, "limits.memory"},
		{"unlimited", "memory = \"unlimited\"\ncpus = -1", usual, "", cgroup.Limits{}, ""},
		{"processes come along", "cpus = 1.5\ncpu_weight = 20\nprocesses = 10", usual, "systemd", cgroup.Limits{CPUMax: 1500, CPUWeight: 20, PidsMax: 10}, "limits.cpus"},
		{"what is not delegated is left out", "memory = \"1G\"\ncpuset = \"0-1\"", usual, "systemd", cgroup.Limits{MemoryMax: 1 << 30, SwapMax: cgroup.None, OOMGroup: true}, "limits.memory"},
		{"nothing of it is delegated", "cpuset = \"0-1\"", usual, "", cgroup.Limits{}, ""},
		{"set of processors", "cpuset = \"0-1\"", withSystemd("cpuset"), "systemd", cgroup.Limits{CPUs: "0-1"}, "limits.cpuset"},
		{"devices", "io_read_bps = [\"/usr:3M\", \"/home:2M\"]\nio_write_iops = [\"/usr:10\"]", withSystemd("io"), "systemd",
			cgroup.Limits{IO: []cgroup.IO{{Path: "/usr", Device: "8:0", ReadBPS: 2 << 20, WriteIOPS: 10}}}, "limits.io_read_bps"},
		{"devices without the controller", "io_read_bps = [\"/usr:3M\"]", usual, "", cgroup.Limits{}, ""},
		{"always", "cgroup = \"always\"", withSystemd(), "systemd", cgroup.Limits{}, "limits.cgroup"},
		{"never", "cgroup = \"never\"\nmemory = \"1G\"", usual, "", cgroup.Limits{}, ""},
		{"groups of its own", "delegate = true", usual, "systemd", cgroup.Limits{}, "limits.delegate"},
		{"groups of its own without controllers", "delegate = true\nmemory = \"1G\"", withSystemd(), "systemd", cgroup.Limits{}, "limits.memory"},
		{"groups of its own, and never one", "delegate = true\ncgroup = \"never\"", usual, "", cgroup.Limits{}, ""},
		{"a delegated group", "memory_high = \"1G\"\nprocesses = 3", delegated("memory", "pids"), "subtree", cgroup.Limits{MemoryHigh: 1 << 30, PidsMax: 3}, "limits.memory_high"},
		{"no one", "memory = \"1G\"", host.Cgroup{Systemd: host.Maker{Err: errors.New("x")}, Subtree: host.Maker{Err: errors.New("x")}}, "", cgroup.Limits{}, ""},
	} {
		in := input(t, "[limits]\n"+tt.text)
		in.Facts.Cgroup = tt.host
		if wants := WantsCgroup(in.Profile, 1000); !wants && tt.by != "" {
			t.Errorf("%s: nobody would have looked for control groups", tt.name)
		}
		p := planned(t, in)
		same(t, tt.name, p.Cgroup.Limits, tt.want)
		if p.Cgroup.By != tt.by || p.Cgroup.From != tt.from {
			t.Errorf("%s: by %q from %q", tt.name, p.Cgroup.By, p.Cgroup.From)
		}
		// Each process alone is held only where all together are not.
		data := strings.Contains(tt.text, "memory = \"1G\"") && tt.want.MemoryMax == 0
		for _, l := range p.Limits {
			if l.Resource == unix.RLIMIT_DATA && !data {
				t.Errorf("%s: there is a limit for each process, too", tt.name)
			}
			data = data && l.Resource != unix.RLIMIT_DATA
		}
		if data {
			t.Errorf("%s: no limit for each process", tt.name)
		}
	}
}

// TestGroupOfRoot: RLIMIT_NPROC does not hold the host's root.
func TestGroupOfRoot(t *testing.T) {
	in := input(t, "security.allow_root = true\nlimits.processes = 10")
	in.Facts.UID, in.Facts.Cgroup = 0, withSystemd("pids")
	if p := planned(t, in); p.Cgroup.Limits.PidsMax != 10 {
		t.Errorf("%+v", p.Cgroup)
	}
}

func TestLimitFeatures(t *testing.T) {
	all := "[limits]\nmemory = \"1G\"\nmemory_high = \"1G\"\ncpus = 1\ncpu_weight = 50\ncpuset = \"1\"\nprocesses = 9\ncgroup = \"always\"\n"
	for _, tt := range []struct {
		name string
		host host.Cgroup
		text string
		want map[string]string
	}{
		{"everything", withSystemd("cpuset", "cpu", "memory", "pids"), all, map[string]string{"memory-limit": "enforced", "memory-high": "enforced", "swap-limit": "enforced",
			"cpu-limit": "enforced", "cpu-weight": "enforced", "cpuset": "enforced", "pids-limit": "enforced", "cgroup": "enforced"}},
		{"as Linux 5.10 has it", withSystemd("memory", "pids"), all, map[string]string{"memory-limit": "enforced", "memory-high": "enforced", "swap-limit": "enforced",
			"cpu-limit": "missing", "cpu-weight": "missing", "cpuset": "degraded", "pids-limit": "enforced", "cgroup": "enforced"}},
		{"nothing", host.Cgroup{Systemd: host.Maker{Err: errors.New("x")}, Subtree: host.Maker{Err: errors.New("x")}}, all, map[string]string{"memory-limit": "degraded",
			"memory-high": "missing", "cpu-limit": "missing", "cpu-weight": "missing", "cpuset": "degraded", "pids-limit": "enforced", "cgroup": "missing"}},
		{"not asked for", withSystemd("memory"), "", map[string]string{}},
	} {
		in := input(t, tt.text)
		in.Facts.Cgroup = tt.host
		p := planned(t, in)
		got := map[string]string{}
		for _, f := range p.Features {
			switch f.Name {
			case "memory-limit", "memory-high", "swap-limit", "cpu-limit", "cpu-weight", "cpuset", "pids-limit", "cgroup":
				got[f.Name] = f.State
				if f.State != "enforced" && f.Why == "" {
					t.Errorf("%s: %s does not say why", tt.name, f.Name)
				}
			}
		}
		same(t, tt.name, got, tt.want)
		if affinity := got["cpuset"] == "degraded"; affinity != (p.Process.CPUs == "1") {
			t.Errorf("%s: to start on: %q", tt.name, p.Process.CPUs)
		}
	}
}

// TestDelegate: the command gets groups of its own only below one of the sandbox's
// and in a namespace that begins there.
func TestDelegate(t *testing.T) {
	nobody := host.Cgroup{Systemd: host.Maker{Err: errors.New("no systemd")}, Subtree: host.Maker{Err: errors.New("not delegated")}}
	for _, tt := range []struct {
		name, text string
		host       host.Cgroup
		want       []string // controllers
		state, why string
	}{
		{"by systemd", "", withSystemd("cpu", "memory", "pids"), []string{"cpu", "memory", "pids"}, "enforced", ""},
		{"in a delegated group", "", delegated("memory"), []string{"memory"}, "enforced", ""},
		{"without controllers", "", withSystemd(), nil, "enforced", ""},
		{"by nobody", "", nobody, nil, "missing", "no systemd; not delegated"},
		{"never", "limits.cgroup = \"never\"", withSystemd("memory"), nil, "missing", `limits.cgroup is "never"`},
		{"with the host's in sight", "namespaces.cgroup = \"host\"", withSystemd("memory"), nil, "missing", `namespaces.cgroup is "host"`},
	} {
		in := input(t, "limits.delegate = true\n"+tt.text)
		in.Facts.Cgroup = tt.host
		p := planned(t, in)
		on := tt.state == "enforced"
		if g := &p.Cgroup; g.Delegate != on || !slices.Equal(g.Controllers, tt.want) || (at(p, sandbox.CgroupDir).Kind == sandbox.Cgroups) != on {
			t.Errorf("%s: %+v, %+v", tt.name, g, at(p, sandbox.CgroupDir))
		}
		i := slices.IndexFunc(p.Features, func(f sandbox.Feature) bool { return f.Name == "cgroup-delegation" })
		if i < 0 || p.Features[i].State != tt.state || !strings.Contains(p.Features[i].Why, tt.why) {
			t.Errorf("%s: %+v", tt.name, p.Features)
		}
		in = input(t, "limits.delegate = true\npolicy.require = [\"cgroup-delegation\"]\n"+tt.text)
		in.Facts.Cgroup = tt.host
		if _, err := Plan(in); (err == nil) != on {
			t.Errorf("%s: required: %v", tt.name, err)
		}
	}
}

func TestNoSuchProcessor(t *testing.T) {
	in := input(t, "limits.cpuset = \"7\"")
	in.Facts.Cgroup = delegated()
	same(t, "faults", faults(t, in), []string{"limits.cpuset: none of the processors 7 can be had here; choose among [0 1]"})
}

// TestGroupGuards: where the command would see the files that limits are set by,
// it can't write them.
func TestGroupGuards(t *testing.T) {
	const own = "home.mode = \"none\"\nworkspace.access = \"none\"\nlimits.memory = \"1G\"\n"
	tree := []string{groups + "/user.slice/"}
	for _, tt := range []struct {
		name, text string
		target     string // of what is to be read-only, "" for none
		kind       sandbox.MountKind
	}{
		{"nothing is seen", own, "", ""},
		{"all of it is read-only", own + "root.source = \"/\"", "", ""},
		{"all of it", own + "[root]\nsource = \"/\"\nread_only = false", groups, sandbox.Guard},
		{"the tree itself", own + "[mounts.\"" + groups + "\"]\naccess = \"rw\"", groups, sandbox.Bind},
		{"a part of it", own + "[mounts.\"/c\"]\nsource = \"" + groups + "/user.slice\"\naccess = \"rw\"", "/c", sandbox.Bind},
		{"what it lies in", own + "[mounts.\"/s\"]\nsource = \"/sys\"\naccess = \"rw\"", "/s/fs/cgroup", sandbox.Guard},
	} {
		in := input(t, tt.text, tree...)
		in.Facts.Cgroup = withSystemd("memory")
		p := planned(t, in)
		for _, m := range p.Mounts {
			if tt.target == "" && m.Kind == sandbox.Guard {
				t.Errorf("%s: %+v", tt.name, m)
			}
		}
		if m := at(p, tt.target); tt.target != "" && (m.Kind != tt.kind || !m.ReadOnly) {
			t.Errorf("%s: %+v", tt.name, m)
		}
	}
}
