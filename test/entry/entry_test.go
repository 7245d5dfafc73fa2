// Package entry tests sbx as make links it: with an entry of its own that
// starts the sandbox's child before the Go runtime, and a further command instead of
// it. Without that entry, which go install leaves out, everything works as well, a
// little later.
package entry

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// link builds cmd/sbx, with the entry or without.
func link(t *testing.T, args ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "sbx")
	cmd := exec.Command("go", append(append([]string{"build", "-buildvcs=false", "-o", bin}, args...), "./cmd/sbx")...)
	cmd.Dir = sbxtest.Checkout(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// The first system call of the Go runtime that others don't make, and the one
// that makes the child.
var (
	runtime = regexp.MustCompile(`sched_getaffinity\(`)
	child   = regexp.MustCompile(`clone3\(\{flags=CLONE_PIDFD\|CLONE_NEWUSER\|CLONE_NEWPID`)
)

func TestEntry(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("strace"), sbxtest.Tool("script"))
	sbxtest.Leftovers(t)
	with, without := link(t, "-ldflags=-E=sbx_entry"), link(t)
	for _, tt := range []struct {
		name   string
		sbx    string
		shell  string // SBX is the traced sbx, STRACE what traces, SHIM makes one called true
		early  bool   // a child is started before the runtime
		late   bool   // one is started by it
		status int
	}{
		{"the usual namespaces", with, "SBX run -- true </dev/null", true, false, 0},
		{"input from a pipe", with, "echo | SBX run -- cat", true, false, 0},
		{"another network", with, "SBX run --network=host -- true </dev/null", true, true, 0},
		{"no such profile", with, "SBX run nothing-of-this-name </dev/null", true, false, 125},
		{"only explained", with, "SBX run --explain build -- true </dev/null", true, false, 0},
		{"a wrapped program", with, "SHIM; STRACE ./true </dev/null", true, false, 0},
		{"a wrapped program at a terminal", with, "SHIM; script -qec 'STRACE ./true' /dev/null </dev/null", false, true, 0},
		{"a wrapped program with another network", with, "SHIM; echo 'flags = [\"--network=host\"]' >>true; STRACE ./true </dev/null", true, true, 0},
		{"a wrapped program as it is", with, "SHIM; SBX_WRAP=off STRACE ./true </dev/null", true, false, 0},
		{"no shim", with, "SBX shim nothing-of-this-name </dev/null", true, false, 125},
		{"a longer verb than shim", with, "SBX shims </dev/null", false, false, 2},
		{"a closed descriptor", with, "SBX run -- true <&-", false, true, 0},
		{"another verb", with, "SBX version </dev/null", false, false, 0},
		{"a longer verb", with, "SBX runs </dev/null", false, false, 2},
		{"no arguments", with, "SBX </dev/null", false, false, 2},
		{"too few descriptors", with, "STRACE prlimit --nofile=6 " + with + " run -- true </dev/null", false, false, 125},
		{"a terminal", with, "script -qec 'SBX run -- true' /dev/null </dev/null", false, true, 0},
		{"linked without", without, "SBX run -- true </dev/null", false, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			trace := filepath.Join(dir, "trace")
			shim := `printf '#!` + tt.sbx + ` shim\ncommand = "true"\nprofile = "builtin:build"\n' >true; chmod +x true`
			strace := "strace -f -qqq -e trace=clone3,sched_getaffinity -o " + trace
			cmd := exec.Command("sh", "-c", strings.NewReplacer("SBX_WRAP", "SBX_WRAP", "SHIM", shim, "STRACE", strace, "SBX", strace+" "+tt.sbx).Replace(tt.shell))
			cmd.Dir = dir
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			status := 0
			var exit *exec.ExitError
			if err := cmd.Run(); errors.As(err, &exit) {
				status = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if status != tt.status {
				t.Errorf("status %d instead of %d: %s", status, tt.status, &out)
			}
			text, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			at := runtime.FindIndex(text)
			if at == nil {
				t.Fatalf("the runtime did not start:\n%s", text)
			}
			if early := child.Match(text[:at[0]]); early != tt.early {
				t.Errorf("a child before the runtime: %v\n%s", early, text)
			}
			if late := child.Match(text[at[0]:]); late != tt.late {
				t.Errorf("a child after the runtime: %v\n%s", late, text)
			}
		})
	}
}

// TestBypass: a program that a shim becomes has no child of sbx's and none of its
// descriptors.
func TestBypass(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS)
	sbxtest.Leftovers(t)
	dir := t.TempDir()
	shim := "#!" + link(t, "-ldflags=-E=sbx_entry") + " shim\ncommand = \"sh\"\nprofile = \"builtin:build\"\n"
	if err := os.WriteFile(filepath.Join(dir, "sh"), []byte(shim), 0o755); err != nil {
		t.Fatal(err)
	}
	var said [2]string
	for i, sh := range []string{"sh", filepath.Join(dir, "sh")} {
		cmd := exec.Command(sh, "-c", "read -r children </proc/$$/task/$$/children; echo \"children:$children\"; cd /proc/$$/fd && echo *")
		cmd.Env = append(os.Environ(), "SBX_WRAP=off")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		said[i] = string(out)
	}
	if said[0] != said[1] || !strings.HasPrefix(said[1], "children:\n") {
		t.Errorf("by the shim it has\n%sand else\n%s", said[1], said[0])
	}
}

// TestIgnoredSIGCHLD: whoever starts sbx may ignore SIGCHLD, which is inherited.
// PID 1 hears of the command's end all the same.
func TestIgnoredSIGCHLD(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("env"))
	sbxtest.Leftovers(t)
	for _, tt := range []struct {
		name string
		sbx  string
	}{
		{"with the entry", link(t, "-ldflags=-E=sbx_entry")},
		{"without", link(t)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "env", "--ignore-signal=CHLD", tt.sbx, "run", "build", "--", "sh", "-c", "exit 7")
			cmd.Dir = t.TempDir()
			out, err := cmd.CombinedOutput()
			if ctx.Err() != nil {
				t.Fatalf("it goes on after the command has ended: %s", out)
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 7 {
				t.Errorf("%v instead of status 7: %s", err, out)
			}
		})
	}
}
