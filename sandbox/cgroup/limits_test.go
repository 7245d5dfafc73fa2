package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var all = Limits{
	MemoryMax: 64 << 20, MemoryHigh: 48 << 20, SwapMax: None, CPUMax: 1500, CPUWeight: 50, CPUs: "0-1,3", PidsMax: 20,
	IO: []IO{{Path: "/dev/vda", Device: "254:0", ReadBPS: 1 << 20, WriteIOPS: 100}},
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		name string
		l    Limits
		want []Setting
	}{
		{"nothing", Limits{}, nil},
		{"killing together is no file of the group itself", Limits{OOMGroup: true}, nil},
		{"all", all, []Setting{
			{"cpuset.cpus", "0-1,3"}, {"cpu.max", "150000 100000"}, {"cpu.weight", "50"},
			{"io.max", "254:0 rbps=1048576 wiops=100"}, {"memory.high", "50331648"}, {"memory.max", "67108864"}, {"memory.swap.max", "0"}, {"pids.max", "20"},
		}},
		{"the smallest quota", Limits{CPUMax: MinCPU}, []Setting{{"cpu.max", "1000 100000"}}},
	} {
		if got := tt.l.Settings(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestProperties(t *testing.T) {
	got, err := all.Properties()
	want := []Property{
		{"CPUAccounting", true}, {"IOAccounting", true}, {"MemoryAccounting", true}, {"TasksAccounting", true},
		{"AllowedCPUs", []byte{0b1011}}, {"CPUQuotaPerSecUSec", uint64(1500000)}, {"CPUWeight", uint64(50)},
		{"IOReadBandwidthMax", []DeviceRate{{"/dev/vda", 1 << 20}}}, {"IOWriteIOPSMax", []DeviceRate{{"/dev/vda", 100}}},
		{"MemoryHigh", uint64(48 << 20)}, {"MemoryMax", uint64(64 << 20)}, {"MemorySwapMax", uint64(0)}, {"TasksMax", uint64(20)},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if _, err := (&Limits{CPUs: "x"}).Properties(); err == nil {
		t.Error("a list of processors that is none is taken")
	}
}

func TestOnly(t *testing.T) {
	for _, c := range all.Controllers() {
		one := all.Only([]string{c})
		if got := one.Controllers(); !slices.Equal(got, []string{c}) {
			t.Errorf("with %s alone it takes %v", c, got)
		}
	}
	if none := all.Only(nil); !none.Empty() {
		t.Errorf("without controllers it is %+v", none)
	}
	if got := all.Only(all.Controllers()); !reflect.DeepEqual(got, all) {
		t.Errorf("with all it is %+v", got)
	}
}

func TestValidate(t *testing.T) {
	if err := all.Validate(); err != nil {
		t.Error(err)
	}
	for _, l := range []Limits{
		{MemoryMax: -1}, {MemoryHigh: -2}, {SwapMax: -2}, {CPUMax: 9}, {CPUWeight: 10001}, {CPUs: "3-1"}, {PidsMax: -1},
	} {
		if err := l.Validate(); err == nil {
			t.Errorf("%+v is taken", l)
		}
	}
}

func TestCPUs(t *testing.T) {
	for _, tt := range []struct {
		text CPUs
		want []int
	}{
		{"0", []int{0}}, {"0-3,8", []int{0, 1, 2, 3, 8}}, {"8,1-2,2", []int{1, 2, 8}}, {"8191", []int{8191}},
		{"", nil}, {"-1", nil}, {"1-", nil}, {"3-1", nil}, {"8192", nil}, {"0-4294967295", nil}, {"a", nil}, {"1,,2", nil}, {" 1", nil},
	} {
		got, err := tt.text.List()
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%q: %v, %v, want %v", tt.text, got, err, tt.want)
		}
	}
	if mask, err := CPUs("0,9").Mask(); err != nil || !slices.Equal(mask, []byte{1, 2}) {
		t.Errorf("mask %v, %v", mask, err)
	}
}

// fake is a group made of plain files.
func fake(t *testing.T, dir string, files map[string]string) Group {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Group(dir)
}

func TestCheck(t *testing.T) {
	held := map[string]string{
		"memory.max": "67108864\n", "memory.high": "50331648\n", "memory.swap.max": "0\n", "cpu.max": "150000 100000\n", "cpu.weight": "50\n",
		"cpuset.cpus": "0-1,3\n", "pids.max": "20\n", "io.max": "8:0 rbps=1 wbps=max riops=max wiops=max\n254:0 rbps=1048576 wbps=max riops=max wiops=100\n",
	}
	if err := fake(t, t.TempDir(), held).Check(&all); err != nil {
		t.Error(err)
	}
	rounded := fake(t, t.TempDir(), map[string]string{"memory.max": "4096\n"})
	if err := rounded.Check(&Limits{MemoryMax: 5000}); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct{ file, text, want string }{
		{"memory.max", "max\n", `memory.max holds "max" instead of "67108864"`},
		{"cpu.max", "max 100000\n", `cpu.max holds "max 100000"`},
		{"cpuset.cpus", "\n", `cpuset.cpus holds ""`},
		{"io.max", "8:0 rbps=1048576 wiops=100\n", "io.max holds"},
		{"pids.max", "", "pids.max is not there: the controller pids is missing"},
	} {
		g := fake(t, t.TempDir(), held)
		if err := os.Remove(filepath.Join(string(g), tt.file)); err != nil {
			t.Fatal(err)
		}
		if tt.text != "" {
			fake(t, string(g), map[string]string{tt.file: tt.text})
		}
		if err := g.Check(&all); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s = %q: %v, want %s", tt.file, tt.text, err, tt.want)
		}
	}
}

func TestEffective(t *testing.T) {
	root := t.TempDir()
	fake(t, root, map[string]string{"cgroup.controllers": "memory"})
	fake(t, root+"/a", map[string]string{"memory.max": "1000\n", "pids.max": "max\n", "cpu.max": "max 100000\n"})
	fake(t, root+"/a/b", map[string]string{"memory.max": "2000\n", "memory.high": "500\n", "pids.max": "7\n", "cpu.max": "50000 200000\n"})
	g := fake(t, root+"/a/b/c", map[string]string{"cpuset.cpus.effective": "0-1\n"})
	got, err := g.Effective(root)
	want := Effective{Memory: 1000, MemoryHigh: 500, Swap: Max, Pids: 7, CPU: 250, CPUs: "0-1"}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	fake(t, root+"/a", map[string]string{"memory.max": "much\n"})
	if _, err := g.Effective(root); err == nil {
		t.Error("a file that is none of the kernel's is taken")
	}
}

func TestFrozenFrom(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{"": "1\n", "/a": "0\n", "/a/b": "1\n", "/a/b/c": "0\n", "/d": "0\n"} {
		fake(t, root+path, map[string]string{"cgroup.freeze": text})
	}
	for _, tt := range []struct{ at, root, want string }{
		{"/a/b/c", "/a", "/a/b"}, // whether it has stopped already or not
		{"/a/b", "/a/b", "/a/b"},
		{"/d", "/d", ""}, // what is above is somebody else's affair
		{"/gone", "/gone", ""},
	} {
		want := Group("")
		if tt.want != "" {
			want = Group(root + tt.want)
		}
		if got := Group(root + tt.at).FrozenFrom(Group(root + tt.root)); got != want {
			t.Errorf("%s up to %s: %q, want %q", tt.at, tt.root, got, want)
		}
	}
}

func TestUsage(t *testing.T) {
	g := fake(t, t.TempDir(), map[string]string{
		"cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nthrottled_usec 5\n", "memory.current": "4096\n", "memory.max": "4096\n", "memory.peak": "8192\n",
		"pids.current": "3\n", "io.stat": "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=1 wbytes=2\n",
		"memory.pressure": "some avg10=1.25 avg60=0.00 avg300=0.00 total=3\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=1\n",
		"memory.events":   "low 0\nhigh 4\nmax 3\noom 2\noom_kill 1\n", "pids.events": "max 9\n",
		"memory.events.local": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 0\n",
	})
	u, err := g.Usage()
	want := Usage{CPU: 30, CPUUser: 20, CPUSystem: 10, Throttled: 5, Memory: 4096, MemoryPeak: 8192, Pids: 3, IORead: 11, IOWrite: 22, Pressure: Pressure{Memory: 125}}
	if err != nil || u != want {
		t.Errorf("%+v, %v, want %+v", u, err, want)
	}
	e, err := g.Events()
	if want := (Events{MemoryMax: 4096, OOM: 2, OwnOOM: 1, OOMKills: 1, High: 4, PidsMax: 9}); err != nil || e != want {
		t.Errorf("%+v, %v, want %+v", e, err, want)
	}
	empty := fake(t, t.TempDir(), nil)
	if u, err := empty.Usage(); err != nil || u != (Usage{}) {
		t.Errorf("without controllers: %+v, %v", u, err)
	}
	if e, err := empty.Events(); err != nil || e != (Events{}) {
		t.Errorf("without controllers: %+v, %v", e, err)
	}
}

// TestRemove: whatever groups there are below, they are removed with it, also those
// that have a longer path than the kernel takes.
func TestRemove(t *testing.T) {
	dir := t.TempDir()
	g, err := Group(dir).Make("g")
	if err != nil {
		t.Fatal(err)
	}
	at, err := os.OpenRoot(string(g))
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("n", 250)
	for range 20 {
		if err := errors.Join(at.Mkdir("a", 0o755), at.Mkdir(name, 0o755)); err != nil {
			t.Fatal(err)
		}
		below, err := at.OpenRoot(name)
		at.Close()
		if err != nil {
			t.Fatal(err)
		}
		at = below
	}
	at.Close()
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
	if err := g.Remove(); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
}

// TestBound: both files, or an error that names the one.
func TestBound(t *testing.T) {
	g := fake(t, t.TempDir(), map[string]string{"cgroup.max.descendants": "max", "cgroup.max.depth": "max"})
	if err := g.Bound(10, 3); err != nil {
		t.Error(err)
	}
	for file, want := range map[string]string{"cgroup.max.descendants": "10", "cgroup.max.depth": "3"} {
		if got, err := g.read(file); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s holds %q (%v)", file, got, err)
		}
	}
	if err := Group(t.TempDir()).Bound(10, 3); err == nil || !strings.Contains(err.Error(), "cgroup.max.descendants") {
		t.Errorf("without the file: %v", err)
	}
}

func TestPayload(t *testing.T) {
	for _, tt := range []struct{ at, want string }{
		{"/user.slice/sbx.slice/sbx-0a.scope/payload", "/user.slice/sbx.slice/sbx-0a.scope/payload"},
		{"/user.slice/sbx.slice/sbx-0a.scope/payload/init.scope", "/user.slice/sbx.slice/sbx-0a.scope/payload"},
		{"/sbx-0a/payload/sbx-0b/payload", "/sbx-0a/payload"}, // the command's choice of names
		{"/user.slice/sbx.slice/sbx-0a.scope/keeper", ""},
		{"/user.slice/payload", ""},
		{"/sbx-0a.scope", ""},
		{"/", ""},
		{"", ""},
	} {
		if got := Payload(tt.at); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.at, got, tt.want)
		}
	}
}

func TestOf(t *testing.T) {
	at, err := Of("self")
	if err == nil && !strings.HasPrefix(at, "/") {
		t.Errorf("the own group is %q", at)
	}
	if _, err := Of("0"); err == nil {
		t.Error("a process that is not there has a group")
	}
}
