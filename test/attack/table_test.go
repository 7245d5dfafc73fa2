package attack

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// attack is a line of the attack table: everything that this project has set
// out to hold against, whether it does already or not.
type attack struct {
	n     int
	title string
	ref   string // where it happened to others
	state state
	why   string // what is still to come, or what is documented where
}

// state is where the defence stands.
type state string

const (
	// implemented attacks have rows, which have to hold.
	implemented state = "implemented"
	// documented is what is let through on purpose; docs/SECURITY.md says so.
	documented state = "documented"
	// The rest has no rows yet. It comes with the part that would be attacked.
	withFiles state = "comes with files" // layers, overlays, images
	withLife  state = "comes with life"  // detached sandboxes, control groups
)

// races are the attacks that are won by luck: make escape repeats them.
var races = map[int]bool{13: true, 21: true}

const raceRuns = 20

// elsewhere are the tests of attacks that take a network of the test's own.
var elsewhere = map[int][]string{
	7:  {"test/net.TestLoopback"},
	8:  {"test/net.TestAddresses"},
	9:  {"test/net.TestRules", "test/net.TestAddresses"},
	56: {"test/net.TestPublish"},
	57: {"test/net.TestConfined"},
	58: {"test/net.TestBlocked"},
}

var attacks = []attack{
	{1, "control sockets of the host (session bus, docker, agents, X, tmux)", "connect(2) works through a read-only bind", implemented, "Landlock's rule for sockets by path needs a kernel that nobody has yet (ABI 9)"},
	{2, "a repository's .git: hooks, fsmonitor, commondir, a renamed parent", "CVE-2026-72718, CVE-2026-71963", implemented, ""},
	{3, "a new or nested repository, a .git file, a bare look-alike", "embedded bare repositories", implemented, "reported at the end, not prevented: see the residues"},
	{4, "other files that the host runs later (.envrc, tasks, shims)", "CVE-2024-1724", implemented, "the table of names can't be complete"},
	{5, "rewriting or planting sbx's own policy", "firejail #7154", implemented, ""},
	{6, "a hostile profile from a cloned repository", "claude-code #86504", implemented, ""},
	{7, "the host's loopback through a network helper", "pasta -T auto", implemented, ""},
	{8, "the host's LAN address, the LAN, metadata services", "slirp4netns --disable-host-loopback", implemented, "network host grants all of them"},
	{9, "around a list of allowed destinations: rebinding, forms of names and addresses", "srt #88", implemented, "with pasta and slirp4netns a name stands for its addresses, and TLS is not looked into"},
	{10, "inherited descriptors: files, directories, pidfds, sockets", "CVE-2024-21626, CVE-2016-9962", implemented, ""},
	{11, "a working directory outside of the new root", "CVE-2024-21626", implemented, ""},
	{12, "symbolic links in the tree while it is being built", "CVE-2026-87766, CVE-2024-42472, CVE-2024-45310", implemented, ""},
	{13, "swapping a bind's source between look-up and mount", "CVE-2018-15664, CVE-2026-34078", implemented, ""},
	{14, "typing on the caller's terminal (TIOCSTI and its like)", "CVE-2017-5226, CVE-2019-10063, CVE-2023-28100", implemented, ""},
	{15, "PID 1 and the supervisor: tracing, environment, program", "CVE-2026-41163", implemented, ""},
	{16, "overwriting the sbx binary through /proc/PID/exe", "CVE-2019-5736", implemented, ""},
	{17, "secrets and loader variables in the environment", "firejail's rmenv", implemented, ""},
	{18, "keyrings of the session and the user", "runc joins a session keyring", implemented, ""},
	{19, "nested user namespaces as a way to more of the kernel", "CVE-2021-41133", implemented, ""},
	{20, "around the system call filter: 64-bit arguments, i386, x32, new calls", "CVE-2019-10063", implemented, ""},
	{21, "taking changes over to the host: swapped parents, .., hard links", "CVE-2018-15664, CVE-2021-29136", implemented, ""},
	{22, "taking over FIFOs, devices, setuid files, extended attributes", "setuid files in an upper layer", implemented, ""},
	{23, "spoofed overlay attributes between drivers", "user.overlay.opaque", implemented, "fuse-overlayfs takes the kernel's marks for its own, in the command's own layer"},
	{24, "mount options in a path (a comma, a colon, a backslash)", "fuse-overlayfs -o lowerdir", implemented, ""},
	{25, "names of commands, files and directories that look like flags", "CVE-2024-32462", implemented, ""},
	{26, "helpers found through PATH or by the loader", "exec.LookPath", implemented, ""},
	{27, "a mount below a read-only bind that stays writable", "remounting is not recursive", implemented, ""},
	{28, "later mounts of the host that appear inside", "slave propagation", implemented, ""},
	{29, "remounting, unmounting, moving what is locked", "runc's readonlyPath", implemented, ""},
	{30, "masked paths and /dev of a hostile root directory", "CVE-2025-31133, CVE-2019-19921", implemented, ""},
	{31, "/proc and /sys: kcore, keys, sysrq, core_pattern", "moby's masked paths", implemented, ""},
	{32, "device nodes", "bubblewrap's --dev", implemented, ""},
	{33, "signals to and sight of the host's processes", "a user namespace alone does not hold", implemented, ""},
	{34, "abstract sockets with the host's network", "abstract sockets belong to the network namespace", implemented, ""},
	{35, "supplementary groups that stay in effect", "CVE-2022-2989", implemented, "with one mapped id the kernel lets nobody drop them"},
	{36, "leaving a group that is refused access", "CVE-2014-8989", implemented, ""},
	{37, "unpacking layers and archives: traversal", "CVE-2021-29136, CVE-2020-10696", implemented, "test/images has the corpus"},
	{38, "content of an image that the host's side reads (/etc/passwd)", "CVE-2024-9676", implemented, ""},
	{39, "archive bombs", "generated", implemented, ""},
	{40, "mount options smuggled in by a profile or a flag", "CVE-2024-9407, CVE-2024-1753", implemented, ""},
	{41, "out of a delegated control group", "CVE-2023-25809, CVE-2022-0492", implemented, "the limits are set above all that the command can see"},
	{42, "a fork bomb", "RLIMIT_NPROC counts by user namespace", implemented, "pids.max in its place where there is a control group"},
	{43, "filling memory through tmpfs and shared memory", "the kernel's default is half of the memory", implemented, "memory.max where there is a control group, else each process alone"},
	{44, "quotas of the host's user: inotify, pseudo-terminals, queues", "one sandbox can take all inotify instances", implemented, ""},
	{45, "filling the disk through layers and logs", "podman's log-opt max-size", implemented, "layers; a bound on disk is looked at once a second, one in memory holds"},
	{46, "escape sequences in what sbx prints (paths, names, errors)", "CVE-2023-28101", implemented, ""},
	{47, "escape sequences in the command's own output", "OSC 52", documented, "a terminal's output is passed on as it is; docs/SECURITY.md says so"},
	{48, "entering a sandbox with less confinement than it has", "CVE-2022-31214, CVE-2026-30892", implemented, "a further command is a fork of PID 1 and inherits everything"},
	{49, "state kept by one run and believed by the next", "CVE-2026-3888", implemented, ""},
	{50, "X11, Wayland and sound servers", "firejail's notes on X11", implemented, ""},
	{51, "holes of a bus proxy", "flatpak and xdg-dbus-proxy", withLife, "no bus can be granted but by its socket, with a warning"},
	{52, "setuid programs inside", "nosuid, no_new_privs", implemented, ""},
	{53, "setuid files left for the host's other users", "systemd's RestrictSUIDSGID", implemented, "openat2(2) keeps its mode where a filter can't look"},
	{54, "FIFOs and sockets behind a read-only bind", "a FIFO on a read-only mount is writable", implemented, "Landlock keeps a FIFO from being written; against sockets the kernel has no means before its ABI 9: what is granted by name is warned of"},
	{55, "core dumps in the project, or to the host's handler", "core(5)", implemented, ""},
	{56, "published ports: address and source", "CVE-2021-20199", implemented, "pasta does not keep the source address"},
	{57, "a network helper taken over by packets", "CVE-2019-6778", implemented, "what is left is what a process with no files and few system calls can do"},
	{58, "name look-ups that reach the host's resolver", "srt #88", implemented, ""},
	{59, "mistakes in id maps: uid 0, overlaps, ids of others", "shadow's newuidmap", implemented, ""},
	{60, "two sandboxes that write the same project", "another sandbox of the same user", implemented, "refused with workspace.exclusive, which strict has; else they are left to it, as two shells are"},
	{61, "sockets and files of sbx's own that are reachable inside", "docker.sock", implemented, ""},
	{62, "stopping the supervisor by pipes that are full or never end", "blocking writes", implemented, ""},
	{63, "hard links in the project to files elsewhere", "names made before the run", implemented, "inside the project a second name can't be told from the first"},
	{64, "look-alikes of trigger names: case, Unicode", "srt's normalizeCaseForComparison", implemented, ""},
}

var rowID = regexp.MustCompile(`^R(\d\d)-[a-z0-9-]+$`)

// of is the number of the attack that a row belongs to, 0 for none.
func (r *row) of() int {
	n := 0
	if m := rowID.FindStringSubmatch(r.id); m != nil {
		fmt.Sscan(strings.TrimPrefix(m[1], "0"), &n)
	}
	return n
}

// TestTable holds the table against the rows, so that none can go missing in
// silence and none can be promised without one.
func TestTable(t *testing.T) {
	count := map[int]int{}
	for _, r := range rows() {
		n := r.of()
		if n < 1 || n > len(attacks) {
			t.Errorf("row %s: %s belongs to no attack of the table", r.id, r.what)
		}
		count[n]++
	}
	for _, c := range contests() {
		count[(&row{id: c.id}).of()]++
	}
	for n, tests := range elsewhere {
		for _, name := range tests {
			dir, test, _ := strings.Cut(name, ".")
			if !declares(t, filepath.Join(sbxtest.Checkout(t), dir), test) {
				t.Errorf("attack %d: there is no %s", n, name)
			}
			count[n]++
		}
	}
	for i, a := range attacks {
		if a.n != i+1 {
			t.Errorf("attack %d stands in place %d", a.n, i+1)
		}
		if a.title == "" || a.ref == "" {
			t.Errorf("attack %d has no title or no reference", a.n)
		}
		switch a.state {
		case implemented:
			if count[a.n] == 0 {
				t.Errorf("attack %d (%s) is %s and has no row", a.n, a.title, a.state)
			}
		case documented, withFiles, withLife:
			if count[a.n] > 0 {
				t.Errorf("attack %d (%s) %s and has %d rows: it is %s", a.n, a.title, a.state, count[a.n], implemented)
			}
			if a.why == "" {
				t.Errorf("attack %d %s, and nothing says why", a.n, a.state)
			}
		default:
			t.Errorf("attack %d has the state %q", a.n, a.state)
		}
	}
	for n := range races {
		if count[n] == 0 {
			t.Errorf("attack %d is to be repeated and has no row", n)
		}
	}
}

// declares reports whether a test is in the files of a directory.
func declares(t *testing.T, dir, test string) bool {
	t.Helper()
	files, err := filepath.Glob(dir + "/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), "\nfunc "+test+"(t *testing.T) {\n")
	})
}

var update = flag.Bool("update", false, "write the generated parts of docs/SECURITY.md")

// TestDocument holds docs/SECURITY.md to the table and to what make escape
// starts the peers with.
func TestDocument(t *testing.T) {
	file := sbxtest.Checkout(t) + "/docs/SECURITY.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| # | attack | known from | state | |\n|---|---|---|---|---|\n")
	for _, a := range attacks {
		fmt.Fprintf(&table, "| %d | %s | %s | %s | %s |\n", a.n, a.title, a.ref, a.state, a.why)
	}
	var starts strings.Builder
	for _, p := range []peer{{name: "bwrap", start: bwrapStart}, {name: "firejail", start: firejailStart}, {name: "podman", start: podmanStart}} {
		fmt.Fprintf(&starts, "    %s\n\n", p.shown())
	}
	want := section(t, section(t, string(text), "attacks", table.String()), "peers", strings.TrimSuffix(starts.String(), "\n"))
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("docs/SECURITY.md is not up to date; go test ./test/attack -run TestDocument -update")
	}
}

// section replaces what stands between the marks of a generated part.
func section(t *testing.T, text, name, part string) string {
	t.Helper()
	before, rest, ok := strings.Cut(text, "<!-- "+name+": generated -->\n")
	_, after, ok2 := strings.Cut(rest, "<!-- "+name+": end -->")
	if !ok || !ok2 {
		t.Fatalf("docs/SECURITY.md has no part %q", name)
	}
	return before + "<!-- " + name + ": generated -->\n" + part + "<!-- " + name + ": end -->" + after
}
