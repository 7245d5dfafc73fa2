// Package archtest asserts who may import whom. Imports point only downwards:
// a profile becomes a Plan, a Plan becomes a Program, a Program is run by a
// child that can do nothing else. A package that is not in the table fails.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

const module = "github.com/sbx-sandbox/sbx/"

// verbs is where the parts of cmd/sbx are.
const verbs = "cmd/sbx/internal/"

const (
	sys       = "golang.org/x/sys/unix"
	bpf       = "golang.org/x/net/bpf"
	pflag     = "github.com/spf13/pflag"
	toml      = "github.com/BurntSushi/toml"
	tomlParse = "github.com/pelletier/go-toml/v2/unstable"
	godbus    = "github.com/godbus/dbus/v5"
)

// rules is the layout. A name that ends in "/..." stands for everything below.
// Every package may use the standard library, save what is banned below.
var rules = []struct {
	pkg string
	may []string // of this module, or another's whole path
	why string
}{
	{
		pkg: "profiles",
		may: []string{sys, toml, tomlParse, "sandbox/seen", "slirp", "slirp/policy"},
		why: "it is the file format, of which rules and ports of the network have a syntax of their own, and knows no kernel; what a profile means here is decided in sandbox/resolve",
	},
	{
		pkg: "userns",
		may: []string{sys},
		why: "it is usable alone, by programs that are no sandbox",
	},
	{
		pkg: "overlay/beneath",
		may: []string{sys},
		why: "opening what others wrote, without following it anywhere; it knows no overlays",
	},
	{
		pkg: "overlay/change",
		may: []string{"overlay/beneath", "overlay/upper", "sandbox/triggers", sys},
		why: "it reads a layer and what is below it, and changes neither",
	},
	{
		pkg: "overlay/patch",
		why: "texts to patches, nothing else",
	},
	{
		pkg: "overlay/apply",
		may: []string{"overlay/beneath", "overlay/change", "overlay/upper", "sandbox/triggers", sys},
		why: "the only place that writes to the host's tree what a sandbox made",
	},
	{
		pkg: "overlay/upper",
		may: []string{"sandbox/seen", "userns", sys},
		why: "the directories that sandboxes write to, their records and locks; it mounts nothing and knows no plan",
	},
	{
		pkg: "sandbox",
		may: []string{"sandbox/cgroup", "sandbox/landlock", "slirp", "slirp/nft", "userns"},
		why: "a Plan is plain data; even x/sys would tempt it to look at the host",
	},
	{
		pkg: "sandbox/landlock",
		why: "rights as numbers and names; the header's are checked by its test",
	},
	{
		pkg: "sandbox/cgroup",
		may: []string{sys},
		why: "control groups as data and as the kernel's files; it knows neither plans nor D-Bus",
	},
	{
		pkg: "sandbox/host",
		may: []string{"userns", "sandbox/cgroup", "sandbox/landlock", "sandbox/host/internal/...", "sandbox/seen", sys},
		why: "the only prober, and it knows neither profiles nor plans: facts do not depend on what is wanted",
	},
	{
		pkg: "sandbox/host/doctor",
		may: []string{"sandbox/host", "sandbox/landlock", sys},
		why: "it judges facts and tries what they can't tell, for a person; only what a refusal means is asked of it by a run",
	},
	{
		pkg: "sandbox/host/internal/...",
		why: "firstlimit must import nothing to be initialised first",
	},
	{
		pkg: "sandbox/resolve",
		may: []string{"overlay/image", "overlay/upper", "profiles", "sandbox", "sandbox/cgroup", "sandbox/host", "sandbox/landlock", "sandbox/seccomp/compile", "sandbox/seccomp/policy", "slirp", "slirp/backend", "slirp/nft", "slirp/policy", "userns", sys},
		why: "deciding is pure: (Profile, Facts) -> Plan; of x/sys it takes numbers only, of overlay/upper what a record says",
	},
	{
		pkg: "sandbox/program",
		may: []string{"sandbox", "sandbox/cgroup", "sandbox/landlock", "sandbox/seccomp", "slirp", "slirp/nft", "userns", sys},
		why: "compiling is pure: it takes numbers from x/sys and calls nothing",
	},
	{
		pkg: "sandbox/triggers",
		why: "names, and what they mean to the host's programs; it looks at no file",
	},
	{
		pkg: "sandbox/audit",
		may: []string{"overlay/beneath", "sandbox", "sandbox/triggers", sys},
		why: "it reads trees of the host's and changes nothing",
	},
	{
		pkg: "sandbox/run",
		may: []string{"overlay/upper", "sandbox", "sandbox/audit", "sandbox/cgroup", "sandbox/program", "sandbox/control", "sandbox/refusal", "sandbox/run/internal/...", "sandbox/seccomp/listener", "sandbox/seen", "slirp", "slirp/backend", "slirp/link", "userns", sys},
		why: "it acts on a Plan; it must not know profiles or facts, or it would decide too",
	},
	{
		pkg: "sandbox/seen",
		may: []string{sys},
		why: "looks at files, remembered; what for is none of its business",
	},
	{
		pkg: "sandbox/state",
		may: []string{"sandbox/control", "sandbox/seen", sys},
		why: "records of sandboxes on disk; it knows neither how they are built nor what is in them",
	},
	{
		pkg: "sandbox/control",
		may: []string{sys},
		why: "messages between two sbx; it knows neither what is asked for nor who answers",
	},
	{
		pkg: "sandbox/output",
		may: []string{sys},
		why: "lines in files",
	},
	{
		pkg: "sandbox/processes",
		may: []string{sys},
		why: "it reads /proc, and signals by descriptors only",
	},
	{
		pkg: "sandbox/export",
		may: []string{"sandbox", "sandbox/cgroup", sys},
		why: "a Plan in the words of others, as data; of x/sys it takes the names of signals",
	},
	{
		pkg: "sandbox/transfer",
		may: []string{"overlay/beneath", sys},
		why: "it copies between two directories that it is given by descriptor; whose they are is none of its business",
	},
	{
		pkg: "sandbox/supervise",
		may: []string{"sandbox", "sandbox/control", "sandbox/output", "sandbox/processes", "sandbox/run", "sandbox/state", sys},
		why: "it stands by a sandbox that runs; how that is built is none of its business",
	},
	{
		pkg: "sandbox/run/internal/heap",
		why: "it must import nothing to be initialised first",
	},
	{
		pkg: "sandbox/run/internal/child",
		may: []string{"sandbox/program", "sandbox/run/internal/kept", "sandbox/seen", sys},
		why: "it interprets a Program in a forked child, or runs before the Go runtime, and can do nothing else",
	},
	{
		pkg: verbs + "shim",
		may: []string{"github.com/BurntSushi/toml", "sandbox/seen", sys},
		why: "the form of a file, and nothing of what it starts",
	},
	{
		pkg: "completions",
		why: "scripts for shells, as text",
	},
	{
		pkg: "docs",
		why: "documents, as text",
	},
	{
		pkg: "editors",
		why: "settings for editors, as text",
	},
	{
		pkg: "sandbox/run/internal/kept",
		may: []string{"sandbox/seen"},
		why: "the form of a file; who writes and who reads it knows what it means",
	},
	{
		pkg: "sandbox/run/internal/caught",
		may: []string{sys},
		why: "signals as bytes, and nothing of sandboxes",
	},
	{
		pkg: "sandbox/run/internal/companion",
		may: []string{sys},
		why: "programs, and nothing of sandboxes",
	},
	{
		pkg: "slirp",
		may: []string{"slirp/policy"},
		why: "a network as data: what sbx-net is told and says; the hot path links it",
	},
	{
		pkg: "slirp/link",
		may: []string{sys},
		why: "rtnetlink by sockets that others opened; it is usable alone",
	},
	{
		pkg: "slirp/hub",
		may: []string{"sandbox/control", "slirp", "slirp/link", "slirp/nft", "slirp/policy", sys},
		why: "who is in a named network; of sandboxes it knows what they say",
	},
	{
		pkg: "sandbox/networks",
		may: []string{"sandbox/control", "slirp", sys},
		why: "records of named networks, and who keeps one that is in use; it knows no sandbox",
	},
	{
		pkg: "slirp/policy",
		why: "rules and what follows from them, pure",
	},
	{
		pkg: "slirp/gate",
		may: []string{"slirp", "slirp/policy"},
		why: "a policy that is applied; it moves no data",
	},
	{
		pkg: "slirp/hello",
		may: []string{"slirp/policy"},
		why: "a parser",
	},
	{
		pkg: "slirp/dns",
		may: []string{"slirp", "slirp/policy", "github.com/miekg/dns"},
		why: "the sandbox's name server; it knows no network stack",
	},
	{
		pkg: "slirp/proxy",
		may: []string{"slirp"},
		why: "connections by the host's proxy, in cmd/sbx-net",
	},
	{
		pkg: "slirp/publish",
		may: []string{"slirp", sys},
		why: "ports of the host; where connections go to is behind an interface",
	},
	{
		pkg: "slirp/hostaddr",
		may: []string{sys},
		why: "one question to the kernel",
	},
	{
		pkg: "slirp/confine",
		may: []string{"sandbox/landlock", "sandbox/seccomp/policy", "sandbox/seccomp/compile", sys},
		why: "it takes rights from the process that it is in, and knows nothing of networks",
	},
	{
		pkg: "slirp/tun",
		may: []string{sys},
		why: "interfaces, for measurements and tests",
	},
	{
		pkg: "slirp/engine",
		may: []string{"slirp", "slirp/dns", "slirp/policy", "slirp/gate", "slirp/hello", "slirp/publish", sys, "gvisor.dev/gvisor/pkg/..."},
		why: "the only importer of a network stack",
	},
	{
		pkg: "cmd/sbx-net",
		may: []string{"slirp", "slirp/policy", "slirp/gate", "slirp/dns", "slirp/publish", "slirp/hostaddr", "slirp/confine", "slirp/engine", "slirp/hub", "slirp/link", "slirp/nft", "slirp/proxy", "sandbox/control", "sandbox/seccomp/policy", "github.com/rootless-containers/rootlesskit/v3/pkg/port/...", "github.com/rootless-containers/rootlesskit/v3/pkg/port", sys},
		why: "plumbing: a sandbox's network, outside",
	},
	{
		pkg: "slirp/nft",
		may: []string{"slirp/policy"},
		why: "rules, and the bytes that say them to the kernel; sending them is the child's",
	},
	{
		pkg: "slirp/backend",
		may: []string{"slirp"},
		why: "arguments of other people's programs; starting them is for sandbox/run",
	},
	{
		pkg: "profiles/gen",
		may: []string{"profiles"},
		why: "go generate runs it; it is no part of the product",
	},
	{
		pkg: "sandbox/seccomp",
		may: []string{sys},
		why: "bytes and names; a run with a built-in filter links no compiler",
	},
	{
		pkg: "sandbox/seccomp/policy",
		may: []string{sys},
		why: "policies are plain data, and pure; of x/sys it takes numbers and names of errnos",
	},
	{
		pkg: "sandbox/seccomp/compile",
		may: []string{"sandbox/seccomp/policy", bpf},
		why: "policy to instructions, nothing else; installing them is the child's",
	},
	{
		pkg: "sandbox/seccomp/listener",
		may: []string{bpf, sys},
		why: "the kernel's questions about calls, and the answers of a filter; it knows no policies, and nobody who is told",
	},
	{
		pkg: "sandbox/refusal",
		may: []string{"sandbox/seccomp/policy", sys},
		why: "what is said of refused calls; of x/sys it takes numbers and names of errnos",
	},
	{
		pkg: "sandbox/seccomp/gen",
		may: []string{"sandbox/seccomp/policy", "sandbox/seccomp/compile"},
		why: "go generate runs it; it is no part of the product",
	},
	{
		pkg: "sandbox/seccomp/policy/gen",
		may: []string{"github.com/moby/profiles/seccomp", "github.com/opencontainers/runtime-spec/specs-go"},
		why: "the only place that reads moby's profile: the product has the table that comes out",
	},
	{
		pkg: "overlay/image",
		may: []string{"userns", sys},
		why: "records of images, as data: a run reads them and links nothing of what keeps images",
	},
	{
		pkg: "overlay/archive",
		may: []string{"github.com/vbatts/tar-split/archive/tar", "github.com/klauspost/compress/...", "github.com/ulikunitz/xz"},
		why: "it judges bytes; it reads headers by the package that unpacks them, so that both see the same",
	},
	{
		pkg: "overlay/stack",
		may: []string{sys},
		why: "one mount of an image's layers, which sbx-store and sbx diff both look through",
	},
	{
		pkg: "overlay/download",
		may: []string{"github.com/google/go-containerregistry/pkg/v1/remote/transport", "github.com/opencontainers/go-digest", sys},
		why: "bytes that a digest names, and what is kept of them; it knows neither layers nor images",
	},
	{
		pkg: "overlay/store",
		may: []string{"overlay/archive", "overlay/beneath", "overlay/change", "overlay/download", "overlay/image", "overlay/stack", "overlay/upper", "go.podman.io/storage/...", "go.podman.io/storage", "github.com/klauspost/compress/...", "github.com/google/go-containerregistry/...", "github.com/opencontainers/go-digest", "github.com/vbatts/tar-split/archive/tar", "userns", sys},
		why: "the adapter to containers/storage and to registries, linked by sbx-store alone",
	},
	{
		pkg: "cmd/sbx-store",
		may: []string{"overlay/store", "overlay/image", "userns", "go.podman.io/storage/pkg/reexec", "github.com/sirupsen/logrus", sys},
		why: "a process around overlay/store: it makes its user namespace and speaks JSON",
	},
	{
		pkg: "cmd/sbx",
		may: []string{"cmd/sbx/...", "docs", "profiles", "sandbox", "sandbox/run", "userns", pflag, sys},
		why: "the table of verbs, and what ties them; where deciding and acting meet is in launch",
	},
	{
		pkg: "cmd/sbx-scope",
		may: []string{"sandbox/cgroup", godbus},
		why: "the only program that talks to systemd; what it is asked for is plain data",
	},
	{
		pkg: verbs + "screen",
		may: []string{sys},
		why: "text, and nothing of sandboxes",
	},
	{
		pkg: verbs + "cli",
		may: []string{verbs + "screen", "profiles", "sandbox/resolve", "sandbox/run", "sandbox/seen", pflag, sys},
		why: "what all verbs have in common: a profile that is named, flags, help, listings, and errors of deciding and running with their places; it starts nothing",
	},
	{
		pkg: verbs + "options",
		may: []string{verbs + "cli", "profiles", "sandbox/seen", "sandbox/state", "sandbox/supervise", pflag, sys},
		why: "words of a command line to keys of a profile; it looks up neither profiles nor sandboxes",
	},
	{
		pkg: verbs + "overlays",
		may: []string{verbs + "cli", verbs + "options", verbs + "screen", "overlay/upper", "profiles", "sandbox/host", "userns", pflag},
		why: "what is kept of runs; it looks into no layer",
	},
	{
		pkg: verbs + "sandboxes",
		may: []string{verbs + "cli", verbs + "options", verbs + "overlays", verbs + "screen", "sandbox", "sandbox/control", "sandbox/networks", "sandbox/state", pflag, sys},
		why: "it speaks to supervisors, removes what they and holders of networks left, and knows no profile",
	},
	{
		pkg: verbs + "images",
		may: []string{verbs + "cli", verbs + "overlays", verbs + "sandboxes", verbs + "screen", "overlay/image", "overlay/upper", "profiles", "sandbox/host", "sandbox/resolve", "sandbox/state", pflag},
		why: "it asks sbx-store, and reads records",
	},
	{
		pkg: verbs + "changes",
		may: []string{verbs + "cli", verbs + "images", verbs + "overlays", verbs + "screen", "overlay/apply", "overlay/beneath", "overlay/change", "overlay/image", "overlay/patch", "overlay/stack", "overlay/upper", "profiles", "userns", pflag, sys},
		why: "it reads layers and shows them, and changes nothing",
	},
	{
		pkg: verbs + "takeover",
		may: []string{verbs + "changes", verbs + "cli", verbs + "overlays", verbs + "screen", "overlay/apply", "overlay/change", "overlay/upper", pflag},
		why: "the only place among the verbs that writes to the host's tree what a sandbox made",
	},
	{
		pkg: verbs + "nets",
		may: []string{verbs + "cli", verbs + "options", verbs + "sandboxes", verbs + "screen", "profiles", "sandbox", "sandbox/host", "sandbox/networks", "sandbox/state", "slirp", pflag, sys},
		why: "it speaks to the programs of networks, and starts no sandbox",
	},
	{
		pkg: verbs + "project",
		may: []string{verbs + "cli", verbs + "sandboxes", verbs + "screen", "editors", "profiles", "sandbox/processes", "sandbox/state", pflag, sys},
		why: "it finds what is up, and starts nothing",
	},
	{
		pkg: verbs + "access",
		may: []string{verbs + "cli", verbs + "options", verbs + "project", verbs + "sandboxes", verbs + "screen", "profiles", "sandbox/control", "sandbox/host", "sandbox/output", "sandbox/run", "sandbox/state", "sandbox/transfer", pflag, sys},
		why: "it goes into sandboxes that run, and starts none",
	},
	{
		pkg: verbs + "usage",
		may: []string{verbs + "cli", verbs + "options", verbs + "sandboxes", verbs + "screen", "profiles", "sandbox", "sandbox/cgroup", "sandbox/host", "sandbox/processes", "sandbox/resolve", "sandbox/state", pflag, sys},
		why: "figures and limits of sandboxes that run",
	},
	{
		pkg: verbs + "decision",
		may: []string{verbs + "cli", verbs + "images", verbs + "nets", verbs + "options", verbs + "overlays", verbs + "sandboxes", "overlay/upper", "profiles", "sandbox", "sandbox/control", "sandbox/host", "sandbox/host/doctor", "sandbox/networks", "sandbox/refusal", "sandbox/resolve", "sandbox/run", "sandbox/state", "slirp", sys},
		why: "the only place that puts command line, profile, host and records together to a Plan; it asks the kernel for what a Plan needs and starts no command",
	},
	{
		pkg: verbs + "explanation",
		may: []string{verbs + "cli", verbs + "decision", verbs + "nets", verbs + "options", verbs + "sandboxes", verbs + "screen", "profiles", "sandbox", "sandbox/cgroup", "sandbox/program", "sandbox/refusal", "sandbox/resolve", "sandbox/state", "slirp", pflag, sys},
		why: "plans as text; it starts nothing",
	},
	{
		pkg: verbs + "launch",
		may: []string{verbs + "cli", verbs + "decision", verbs + "explanation", verbs + "nets", verbs + "options", verbs + "overlays", verbs + "screen", verbs + "takeover", "overlay/upper", "profiles", "sandbox", "sandbox/audit", "sandbox/control", "sandbox/host", "sandbox/networks", "sandbox/refusal", "sandbox/resolve", "sandbox/run", "sandbox/seen", "sandbox/state", "sandbox/supervise", "slirp", pflag, sys},
		why: "the only place where a decided sandbox is run",
	},
	{
		pkg: verbs + "shells",
		may: []string{verbs + "access", verbs + "cli", verbs + "launch", verbs + "options", verbs + "project", verbs + "sandboxes", verbs + "screen", "completions", "profiles", "sandbox", "sandbox/control", "sandbox/state", pflag, sys},
		why: "ways to start a sandbox, or to go into the project's",
	},
	{
		pkg: verbs + "wrapping",
		may: []string{verbs + "cli", verbs + "launch", verbs + "options", verbs + "screen", verbs + "shim", "profiles", "slirp", "sandbox/seen", pflag, toml},
		why: "files in the place of programs, and what they start",
	},
	{
		pkg: verbs + "catalogue",
		may: []string{verbs + "cli", verbs + "screen", "profiles", "sandbox/resolve", pflag, sys},
		why: "files of profiles, and whom the person trusts; it decides nothing",
	},
	{
		pkg: verbs + "diagnosis",
		may: []string{verbs + "cli", verbs + "screen", "sandbox/host", "sandbox/host/doctor", pflag},
		why: "it asks sandbox/host, and prints",
	},
	{
		pkg: verbs + "manifests",
		may: []string{verbs + "cli", verbs + "decision", verbs + "options", verbs + "sandboxes", verbs + "screen", "profiles", "sandbox", "sandbox/export", "sandbox/state", pflag},
		why: "plans in the words of others, as text and files",
	},
	{
		pkg: "bench/...",
		may: []string{"bench/...", "profiles", "sandbox", "sandbox/host", "sandbox/resolve", "sandbox/program", "sandbox/run", "slirp", "slirp/policy", "slirp/tun", "userns", sys},
		why: "it measures the packages and the built binary",
	},
	{
		pkg: "test/reach",
		may: []string{"slirp/tun", "github.com/miekg/dns", sys},
		why: "services that a sandbox's network is tested against, and the tries; in a test's own namespaces",
	},
	{
		pkg: "test/...",
		may: []string{"test", "test/...", "profiles", "sandbox", "sandbox/host", "sandbox/resolve", "sandbox/program", "userns", sys},
		why: "the suite's tools; product packages are used by tests, not by tools",
	},
	{
		pkg: "test",
		why: "it is read by everything else in test",
	},
}

// bans hold for every package but the ones named.
var bans = []struct {
	path   string // an import, or with "/..." all below it
	except []string
	why    string
}{
	{
		path:   "unsafe",
		except: []string{"sandbox/run/internal/child", "sandbox/run/internal/caught", "sandbox/seccomp/listener", "slirp/confine", "test/attack/probe", "test/faults/inject"},
		why:    "four packages hold all that the compiler can't check; x/sys/unix has typed calls for the rest, but for what an attack makes wrong on purpose and what the faults' tracer asks of ptrace(2)",
	},
	{
		path:   "overlay/store",
		except: []string{"cmd/sbx-store"},
		why:    "it links containers/storage, whose initialisation doubles a start",
	},
	{path: "C", why: "no cgo: sbx is one static binary, and a C constructor runs before anything of ours"},
	{path: "plugin", why: "it needs cgo and the dynamic linker"},
	{
		path:   "gvisor.dev/...",
		except: []string{"slirp/engine"},
		why:    "a network stack costs milliseconds of initialisation; its only place is the engine",
	},
	{
		path:   "slirp/engine",
		except: []string{"cmd/sbx-net"},
		why:    "it links the network stack",
	},
	{
		path:   "cmd/...",
		except: []string{"cmd/..."},
		why:    "a command is the end of the chain; what others need of it belongs in a package",
	},
	{
		path:   "sandbox/run",
		except: []string{"cmd/...", "bench/...", "sandbox/supervise"},
		why:    "only a command acts on the host",
	},
	{
		path:   "test/...",
		except: []string{"test/...", "test"},
		why:    "the suite is not part of the product (tests may import it)",
	},
}

// assembly is where .s files may be.
var assembly = []string{"sandbox/run/internal/child", "sandbox/run/internal/caught", "sandbox/run/internal/heap", "sandbox/host/internal/firstlimit"}

type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	SFiles       []string
	CgoFiles     []string
}

func TestImports(t *testing.T) {
	pkgs := list(t)
	for _, p := range pkgs {
		name := strings.TrimPrefix(p.ImportPath, module)
		i := slices.IndexFunc(rules, func(r struct {
			pkg string
			may []string
			why string
		}) bool {
			return matches(r.pkg, name)
		})
		if i < 0 {
			t.Errorf("package %s is in no rule: add a row to test/archtest with what it may import and why", name)
			continue
		}
		rule := rules[i]
		for _, imp := range p.Imports {
			if !permitted(rule.may, imp) {
				t.Errorf("%s imports %s; it may import the standard library and %v, because %s",
					name, strings.TrimPrefix(imp, module), rule.may, rule.why)
			}
		}
		checkBans(t, name, "imports", p.Imports)
		if len(p.SFiles) > 0 && !slices.Contains(assembly, name) {
			t.Errorf("%s has assembly %v; only %v may", name, p.SFiles, assembly)
		}
	}
}

// TestTestImports: tests may import more, but no command: its tests are beside it.
func TestTestImports(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range append(p.TestImports, p.XTestImports...) {
			imp = strings.TrimPrefix(imp, module)
			if matches("cmd/...", imp) && !matches("cmd/...", name) {
				t.Errorf("a test of %s imports %s; run the binary instead (sbxtest.Sbx)", name, imp)
			}
		}
	}
}

// TestTables keeps the tables honest.
func TestTables(t *testing.T) {
	for _, r := range rules {
		if r.why == "" {
			t.Errorf("rule %s has no reason", r.pkg)
		}
	}
	for _, b := range bans {
		if b.why == "" {
			t.Errorf("ban of %s has no reason", b.path)
		}
	}
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"sandbox", "sandbox", true},
		{"sandbox", "sandbox/run", false},
		{"cmd/...", "cmd/sbx", true},
		{"cmd/sbx/...", "cmd/sbx", false},
		{"cmd/sbx/...", "cmd/sbx/internal/cli", true},
		{"cmd/sbx/...", "cmd/sbx-net", false},
	} {
		if got := matches(tt.pattern, tt.path); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.pattern, tt.path, got)
		}
	}
}

func checkBans(t *testing.T, name, verb string, imports []string) {
	t.Helper()
	for _, imp := range imports {
		path := strings.TrimPrefix(imp, module)
		if path == imp && strings.Contains(imp, ".") {
			continue // another module's: a matter of rules
		}
		if path == imp && strings.HasPrefix(imp, "cmd/") {
			continue // the toolchain's own
		}
		for _, b := range bans {
			if !matches(b.path, path) || slices.ContainsFunc(b.except, func(e string) bool { return matches(e, name) }) {
				continue
			}
			t.Errorf("%s %s %s: %s; allowed only in %v", name, verb, path, b.why, b.except)
		}
	}
}

// permitted reports whether a rule's list has an import. The standard library
// is always in it: its paths have no dot in the first element.
func permitted(may []string, imp string) bool {
	path := strings.TrimPrefix(imp, module)
	first, _, _ := strings.Cut(imp, "/")
	if path == imp && !strings.Contains(first, ".") {
		return true
	}
	return slices.ContainsFunc(may, func(m string) bool { return matches(m, path) })
}

func matches(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports,SFiles,CgoFiles", "./...")
	cmd.Dir = sbxtest.Checkout(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list names no package")
	}
	return pkgs
}
