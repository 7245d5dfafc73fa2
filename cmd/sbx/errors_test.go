package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/launch"
	"github.com/sbx-sandbox/sbx/docs"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/userns"
)

const profileText = `version = 1
[process]
command = ["true"]
[mounts."/data"]
source = "/none"
`

// TestReport: an error as a person and as a program sees it.
func TestReport(t *testing.T) {
	dir := alone(t)
	if err := os.WriteFile("p.toml", []byte(profileText), 0o600); err != nil {
		t.Fatal(err)
	}
	path := dir + "/cwd/p.toml"
	prof, err := profiles.Load(profiles.Ref{Path: path}, profiles.HostEnv())
	if err != nil {
		t.Fatal(err)
	}
	prof, err = prof.With([]profiles.Override{{Key: "limits.memory", Value: "1G", Flag: "--memory"}})
	if err != nil {
		t.Fatal(err)
	}
	step := stepOf(t, "mounts./data")
	doc := step.Doc()
	for _, tt := range []struct {
		name string
		err  error
		code int
		text string
		json string // the errors
	}{
		{"plain", errors.New("odd"), 125, "sbx: odd\n", `[{"reason":"odd"}]`},
		{"key", &resolve.Error{Key: "mounts./data", Msg: "binding /none", Hint: "create it", Err: &fs.PathError{Op: "open", Path: "/none", Err: unix.ENOENT}}, 125,
			"sbx: p.toml:4:9: mounts./data: binding /none: no such file or directory; create it\n",
			`[{"file":"` + path + `","line":4,"col":9,"key":"mounts./data","errno":"ENOENT","reason":"binding /none: no such file or directory","fix":"create it"}]`},
		{"flag", &resolve.Error{Key: "limits.memory", Msg: "too much"}, 125, "sbx: --memory: too much\n", `[{"flag":"--memory","reason":"too much"}]`},
		{"default", &resolve.Error{Key: "process.umask", Msg: "no home"}, 125, "sbx: process.umask: no home\n", `[{"key":"process.umask","reason":"no home"}]`},
		{"two", errors.Join(errors.New("a"), &resolve.Error{Msg: "b", Hint: "c"}), 125, "sbx: a\nsbx: b; c\n", `[{"reason":"a"},{"reason":"b","fix":"c"}]`},
		{"step", &run.StepError{Step: step, Errno: unix.ELOOP}, 125,
			"sbx: p.toml:4:9: mounts./data: " + doc + ": too many levels of symbolic links; a symbolic link appeared on the path after it was checked; name the real place\n",
			`[{"file":"` + path + `","line":4,"col":9,"key":"mounts./data","step":"` + doc + `","path":"` + step.Path + `","errno":"ELOOP","reason":"too many levels of symbolic links","fix":"a symbolic link appeared on the path after it was checked; name the real place"}]`},
		{"exec", &run.StepError{Step: program.Step{}, Errno: unix.ENOEXEC, IsExec: true}, 126,
			"sbx: exec format error; it is neither a program of this machine nor a script with a #! line\n",
			`[{"errno":"ENOEXEC","reason":"exec format error","fix":"it is neither a program of this machine nor a script with a #! line"}]`},
		{"control", errors.New("a\x1b[31mb\nc\u009bd"), 125, "sbx: a?[31mb; c?d\n", ""},
	} {
		for _, asJSON := range []bool{false, true} {
			var b bytes.Buffer
			verb := launch.RunCommand()
			inv := cli.Invocation{Err: &b, Verb: &verb, Profile: prof, JSONErrs: asJSON}
			if code := inv.Report(tt.err); code != tt.code {
				t.Errorf("%s: status %d, want %d", tt.name, code, tt.code)
			}
			if !asJSON {
				if b.String() != tt.text {
					t.Errorf("%s:\n got %s\nwant %s", tt.name, &b, tt.text)
				}
				continue
			}
			var got struct {
				Schema, Code int
				Errors       json.RawMessage
			}
			if err := json.Unmarshal(b.Bytes(), &got); err != nil || got.Schema != 1 || got.Code != tt.code || tt.json != "" && string(got.Errors) != tt.json {
				t.Errorf("%s: %v\n got %s\nwant %s", tt.name, err, &b, tt.json)
			}
			if bytes.Count(b.Bytes(), []byte("\n")) != 1 {
				t.Errorf("%s: more than one line: %q", tt.name, &b)
			}
		}
	}
}

// TestPages: each kind of error has a section, and each section a kind.
func TestPages(t *testing.T) {
	verb := launch.RunCommand()
	inv := cli.Invocation{Verb: &verb}
	used := map[string]bool{"": true}
	for _, err := range []error{
		errors.New("odd"), profiles.Errors{}, &profiles.NotFoundError{}, &profiles.UntrustedError{}, &resolve.Error{Key: "mounts./data"}, &resolve.Error{Key: "network.mode"},
		&run.StepError{Errno: unix.ELOOP}, &run.StepError{Errno: unix.ENOENT, IsExec: true}, &run.GroupError{}, cli.Usagef("odd"),
	} {
		used[inv.Page(err)] = true
	}
	for _, p := range docs.Errors() {
		if !used[p.Name] || p.Text == "" {
			t.Errorf("no error is of the kind %q, or nothing is said of it: %q", p.Name, p.Text)
		}
		delete(used, p.Name)
	}
	for name := range used {
		t.Errorf("docs/ERRORS.md has no section %q", name)
	}
}

// TestJSONUsage: --json-errors holds for a command line that can't be parsed.
func TestJSONUsage(t *testing.T) {
	alone(t)
	for _, args := range [][]string{
		{"run", "--json-errors", "--memroy", "1"}, {"run", "--memroy", "1", "--json-errors"},
		{"run", "--json-errors", "--memory", "x", "--", "true"}, {"shell", "--json-errors", "none"},
	} {
		code, _, stderr := call(args...)
		var f cli.Failure
		if err := json.Unmarshal([]byte(stderr), &f); err != nil || code != 125 || f.Code != 125 || len(f.Errors) != 1 || f.Errors[0].Reason == "" {
			t.Errorf("sbx %q: status %d, %v: %s", args, code, err, stderr)
		}
	}
	if _, _, stderr := call("run", "--memroy", "--", "true", "--json-errors"); stderr[0] == '{' {
		t.Errorf("the command's own flag was taken for sbx's: %s", stderr)
	}
}

// stepOf is the first step of a program that a key asked for.
func stepOf(t *testing.T, key string) program.Step {
	t.Helper()
	prog, err := program.Compile(&sandbox.Plan{
		Version: sandbox.PlanVersion, Name: "p", Hostname: "p", Proc: sandbox.ProcNone, Network: sandbox.NetHost,
		IDs: sandbox.IDs{
			Mode:      "single",
			OuterUIDs: userns.Self(0, 0), OuterGIDs: userns.Self(0, 0), InnerUIDs: userns.Self(0, 0), InnerGIDs: userns.Self(0, 0),
		},
		Root:     sandbox.Root{Size: 1 << 20, Inodes: 64},
		Mounts:   []sandbox.Mount{{Kind: sandbox.Bind, Source: "/none", Target: "/data", IsDir: true, Own: true, From: key}},
		Process:  sandbox.Process{Argv: []string{"true"}, Lookup: []string{"/bin"}, Dir: "/"},
		Security: sandbox.Security{Seccomp: sandbox.Seccomp{Policy: sandbox.Unconfined}},
		Audit:    sandbox.Audit{Mode: sandbox.AuditOff},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range prog.Steps {
		if s.From == key && s.Doc() != "" {
			return s
		}
	}
	t.Fatalf("no step comes from %s", key)
	return program.Step{}
}
