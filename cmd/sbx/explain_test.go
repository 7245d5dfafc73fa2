package main

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// TestExplainJSON: the plan survives the round trip, and says where its keys
// were set.
func TestExplainJSON(t *testing.T) {
	alone(t)
	code, stdout, stderr := call("explain", "--json", "--set", "security.allow_root=true", "-m", "1G", "--tmpfs", "/srv/t", "build", "--", "make", "-j4")
	if code != 0 {
		t.Fatalf("status %d: %s", code, stderr)
	}
	var got struct {
		Schema  int
		Plan    sandbox.Plan
		Origins map[string]string
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != 1 || got.Plan.Version != sandbox.PlanVersion || strings.Join(got.Plan.Process.Argv, " ") != "make -j4" {
		t.Errorf("schema %d, plan version %d, argv %q", got.Schema, got.Plan.Version, got.Plan.Process.Argv)
	}
	for key, want := range map[string]string{"limits.memory": "--memory", "mounts./srv/t": "--tmpfs", "security.allow_root": ""} {
		if got.Origins[key] != want {
			t.Errorf("origin of %s: %q, want %q", key, got.Origins[key], want)
		}
	}
	if at := got.Origins["limits.processes"]; !strings.HasPrefix(at, "builtin:build:") {
		t.Errorf("origin of limits.processes: %q", at)
	}
	text, err := json.Marshal(got.Plan)
	if err != nil {
		t.Fatal(err)
	}
	var again sandbox.Plan
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, got.Plan) {
		t.Errorf("%v: %+v\nwant %+v", err, again, got.Plan)
	}
}

// TestExplainText: the sections, each with what it is about.
func TestExplainText(t *testing.T) {
	alone(t)
	code, stdout, stderr := call("explain", "--set", "security.allow_root=true", "--set", "environment.set.A=b", "strict")
	if code != 0 {
		t.Fatalf("status %d: %s", code, stderr)
	}
	at := 0
	for _, section := range []string{"who", "namespaces", "files", "network", "limits", "environment", "process", "enforced by", "notes"} {
		i := strings.Index(stdout, "\n\n"+section+"\n")
		if i < at {
			t.Errorf("section %s is missing or out of order", section)
		}
		at = i
	}
	for _, want := range []string{"command: (the command)", "A = b", "[environment.set.A --set]", "[limits.memory builtin:strict:"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in:\n%s", want, stdout)
		}
	}
}

// TestFamilies: completion says of each first word of two what it is for.
func TestFamilies(t *testing.T) {
	left := maps.Clone(families)
	for _, c := range commands() {
		first, _, two := strings.Cut(c.Name, " ")
		if two && !c.Hidden && families[first] == "" {
			t.Errorf("nothing is said of %s", first)
		}
		delete(left, first)
	}
	if len(left) > 0 {
		t.Errorf("there are no verbs of %v", left)
	}
}

// TestCandidates: what completion offers where.
func TestCandidates(t *testing.T) {
	alone(t)
	for _, tt := range []struct {
		line string
		want string // the words, those of more than a few cut
	}{
		{"ru", "run"},
		{"nosuch x", ""},
		{"profile sh", "show"},
		{"run --netw", "--network --network-alias"},
		{"run --network ", "none user host"},
		{"run --network=h", "--network=host"},
		{"run -u ", "keep root auto"},
		{"run -qu ", "keep root auto"},
		{"run -w ", "@dir"},
		{"run --env-file ", "@file"},
		{"run -m 1G stri", "strict @file"},
		{"run -t stri", "strict @file"},
		{"run build ", "@command 0"},
		{"run build ls -", "@command 1"},
		{"run build -- ls a ", "@command 2"},
		{"run -- ", "@command 0"},
		{"explain build -- ls ", "@command 1"},
		{"explain build --js", "--json --json-errors"},
		{"shell stri", "strict @file"},
		{"shell strict ", ""},
		{"completion z", "zsh"},
		{"trust ", "@file"},
		{"run --set policy.", "policy.require="},
		{"help profile in", "init"},
		{"profile init rus", "rust"},
	} {
		var got []string
		for _, c := range candidates(strings.Split(tt.line, " ")) {
			got = append(got, c.Word)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("sbx %s: %q, want %q", tt.line, s, tt.want)
		}
	}
}
