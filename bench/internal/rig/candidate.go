package rig

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Measurements a candidate can take part in.
const (
	Start      = "start"
	Throughput = "throughput"
	MemoryUse  = "memory"
	Orphans    = "orphans"
)

// A Candidate is one command line to be measured: an entry of a candidates file.
//
// In Requires, Argv and Version {name} stands for a path or number of the rig; see
// [Rig.names]. The element "{payload}" of Argv stands for the whole command that
// runs in the sandbox.
type Candidate struct {
	Name     string   `json:"name"`
	Requires []string `json:"requires,omitempty"` // programs, by path or by name
	Argv     []string `json:"argv"`
	In       []string `json:"in"`
	Share    float64  `json:"share,omitempty"`   // the part of the rounds it takes part in; 0 = all
	Version  []string `json:"version,omitempty"` // prints the tool's version
	Note     string   `json:"note,omitempty"`

	// NotRun is why it is not measured, "" if it is.
	NotRun string `json:"-"`
}

// TakesPart reports whether c is measured in round i.
func (c Candidate) TakesPart(i int) bool {
	if c.Share <= 0 || c.Share >= 1 {
		return true
	}
	return int(float64(i+1)*c.Share) > int(float64(i)*c.Share)
}

//go:embed standard.json
var standard []byte

// Standard returns the built-in candidates: sbx, the peers and the bounds.
func Standard() []Candidate {
	list, err := decode(standard)
	if err != nil {
		panic("BUG: standard.json: " + err.Error())
	}
	return list
}

// Load reads a candidates file: JSON, a list of Candidate.
func Load(path string) ([]Candidate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

func decode(text []byte) ([]Candidate, error) {
	var list []Candidate
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, c := range list {
		switch {
		case c.Name == "":
			return nil, fmt.Errorf("a candidate without name")
		case seen[c.Name]:
			return nil, fmt.Errorf("two candidates named %q", c.Name)
		case len(c.Argv) == 0:
			return nil, fmt.Errorf("candidate %q has no argv", c.Name)
		}
		for _, m := range c.In {
			if !slices.Contains([]string{Start, Throughput, MemoryUse, Orphans}, m) {
				return nil, fmt.Errorf("candidate %q takes part in unknown measurement %q", c.Name, m)
			}
		}
		seen[c.Name] = true
	}
	return list, nil
}

// expand replaces every {name} of text, and says which one has no value here.
func expand(text string, names map[string]string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		value, known := names[name]
		switch {
		case !closed || !known:
			return "", fmt.Errorf("unknown name {%s}", name)
		case value == "":
			return "", fmt.Errorf("no %s for this account", name)
		}
		out.WriteString(value)
		text = after
	}
}

// commandLine expands argv, with payload in the place of "{payload}", and finds its
// first element in path.
func commandLine(argv, payload []string, names map[string]string, path string) ([]string, error) {
	var out []string
	for _, arg := range argv {
		if arg == "{payload}" {
			out = append(out, payload...)
			continue
		}
		arg, err := expand(arg, names)
		if err != nil {
			return nil, err
		}
		out = append(out, arg)
	}
	program, err := lookPath(out[0], path)
	if err != nil {
		return nil, err
	}
	out[0] = program
	return out, nil
}

// lookPath finds a program in a list of directories that is not the environment's:
// the account under test has its own.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("no %s", name[strings.LastIndexByte(name, '/')+1:])
		}
		return name, nil
	}
	for dir := range strings.SplitSeq(path, ":") {
		if found, err := exec.LookPath(dir + "/" + name); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("no %s", name)
}
