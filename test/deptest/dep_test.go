// Package deptest guards what the binary on the hot path is made of: the
// packages it links, what they do before main, and how it is linked.
//
// After a change that is meant: go test ./test/deptest -update
package deptest

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

var update = flag.Bool("update", false, "rewrite sbx.deps and sbx.init from what is there now")

const (
	depsFile = "sbx.deps"
	initFile = "sbx.init"
)

// forbidden is what cmd/sbx must not link. A path with "/..." also means all
// below it. Only the importers named may bring a package in.
var forbidden = []struct {
	path      string
	importers []string
	why       string
}{
	{path: "github.com/containers/storage/...", why: "start-up is doubled by its inits; its only place is cmd/sbx-store"},
	{path: "go.podman.io/...", why: "containers/storage under its new name: start-up 2.1 x an empty program; its only place is cmd/sbx-store"},
	{path: "gvisor.dev/...", why: "a network stack costs 6-9 ms of inits; its only place is cmd/sbx-net"},
	{path: "github.com/rootless-containers/rootlesskit/...", why: "start-up 1.4 x an empty program; its only place is cmd/sbx-net"},
	{path: "github.com/godbus/dbus/...", why: "D-Bus is only for limits by systemd; its only place is cmd/sbx-scope"},
	{path: "github.com/coreos/go-systemd/...", why: "it brings D-Bus"},
	{path: "github.com/sirupsen/logrus/...", why: "packages return notes and errors; logrus starts a formatter at init"},
	{path: "github.com/spf13/cobra/...", why: "0.7 MB for what a table of commands does"},
	{path: "net/http/...", why: "1 ms of inits, and sbx has nobody to call"},
	{path: "crypto/tls/...", why: "it comes with net/http; tables and self tests at init"},
	{path: "encoding/gob", why: "it builds its types at init, whether used or not"},
	{path: "text/template/...", why: "it keeps every method alive: the linker can no longer leave code out"},
	{path: "html/template", why: "as text/template"},
	{path: "net", importers: []string{"github.com/spf13/pflag"}, why: "sbx resolves no names and opens no inet sockets; pflag has flags of its types; addresses are net/netip"},
	{path: "plugin", why: "it needs the dynamic linker"},
	{path: "runtime/cgo", why: "static, no cgo"},
	{path: "testing/...", why: "it registers flags and belongs in tests"},
	{path: "github.com/sbx-sandbox/sbx/test/...", why: "the suite is not part of the product"},
}

type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func TestDependencies(t *testing.T) {
	var got strings.Builder
	for _, p := range list(t) {
		if !p.Standard || public(p.ImportPath) {
			fmt.Fprintln(&got, p.ImportPath)
		}
	}
	lines := strings.SplitAfter(got.String(), "\n")
	slices.Sort(lines)
	text := strings.Join(lines, "")
	if *update {
		write(t, depsFile, text)
	}
	want, err := os.ReadFile(depsFile)
	if err != nil {
		t.Fatal(err)
	}
	have := strings.Fields(string(want))
	now := strings.Fields(text)
	for _, p := range now {
		if !slices.Contains(have, p) {
			t.Errorf("cmd/sbx links %s, which %s does not have; if that is meant, run go test ./test/deptest -update", p, depsFile)
		}
	}
	for _, p := range have {
		if !slices.Contains(now, p) {
			t.Errorf("cmd/sbx no longer links %s; run go test ./test/deptest -update", p)
		}
	}
}

func TestForbidden(t *testing.T) {
	for _, p := range list(t) {
		if p.Standard {
			continue // what the standard library does among itself follows from what we import of it
		}
		for _, imp := range p.Imports {
			for _, f := range forbidden {
				if matches(f.path, imp) && !slices.Contains(f.importers, p.ImportPath) {
					t.Errorf("cmd/sbx links %s, imported by %s: %s", imp, p.ImportPath, f.why)
				}
			}
		}
	}
	for _, f := range forbidden {
		if f.why == "" {
			t.Errorf("no reason for %s", f.path)
		}
	}
}

// TestInit bounds what happens before main. It counts bytes and allocations,
// which are the same on every machine; the clock is for the benchmarks.
func TestInit(t *testing.T) {
	cmd := exec.Command(sbxtest.Sbx(t), "version")
	cmd.Env = []string{"GODEBUG=inittrace=1", "PATH=/usr/bin:/bin"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("sbx version: %v\n%s", err, &stderr)
	}
	now := sum(t, stderr.String())
	if *update {
		write(t, initFile, fmt.Sprintf(`# What the packages of cmd/sbx may do before main (GODEBUG=inittrace=1 sbx version):
# a quarter more than was measured. Rewritten by go test ./test/deptest -update.
packages %d
bytes %d
allocs %d
`, now.packages+1, now.bytes*5/4, now.allocs*5/4))
	}
	max := bound(t)
	for _, c := range []struct {
		what     string
		now, max int
	}{
		{"packages with an init", now.packages, max.packages},
		{"bytes allocated", now.bytes, max.bytes},
		{"allocations", now.allocs, max.allocs},
	} {
		t.Logf("%s before main: %d of %d", c.what, c.now, c.max)
		if c.now > c.max {
			t.Errorf("%s before main: %d, want at most %d (%s); the trace:\n%s", c.what, c.now, c.max, initFile, &stderr)
		}
	}
}

func TestStatic(t *testing.T) {
	path := sbxtest.Sbx(t)
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s has %v: it is not static", path, p.Type)
		}
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "CGO_ENABLED" })
	if i < 0 || info.Settings[i].Value != "0" {
		t.Errorf("%s was not built with CGO_ENABLED=0", path)
	}
}

type inits struct{ packages, bytes, allocs int }

var initLine = regexp.MustCompile(`(?m)^init (\S+) @.* clock, (\d+) bytes, (\d+) allocs$`)

// sum adds up the lines of GODEBUG=inittrace=1; see the runtime package.
func sum(t *testing.T, trace string) inits {
	t.Helper()
	var s inits
	for _, m := range initLine.FindAllStringSubmatch(trace, -1) {
		s.packages++
		s.bytes += number(t, m[2])
		s.allocs += number(t, m[3])
	}
	if s.packages == 0 {
		t.Fatalf("no init in the trace:\n%s", trace)
	}
	return s
}

func bound(t *testing.T) inits {
	t.Helper()
	text, err := os.ReadFile(initFile)
	if err != nil {
		t.Fatal(err)
	}
	var b inits
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "packages":
			b.packages = number(t, value)
		case "bytes":
			b.bytes = number(t, value)
		case "allocs":
			b.allocs = number(t, value)
		}
	}
	return b
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// public leaves out the standard library's own insides: they change with
// every toolchain and nobody chose them.
func public(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == "internal" || part == "vendor" {
			return false
		}
	}
	return true
}

func matches(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == prefix || strings.HasPrefix(path, prefix+"/")
	}
	return pattern == path
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports", "./cmd/sbx")
	cmd.Dir = sbxtest.Checkout(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
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
			return pkgs
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
