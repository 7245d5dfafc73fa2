package resolve_test

import (
	"testing"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/program"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
)

// The stages between the command line and the child, on this host.

func BenchmarkLoad(b *testing.B) {
	env := profiles.HostEnv()
	for b.Loop() {
		ref, err := profiles.Find("build", env)
		if err == nil {
			_, err = profiles.Load(ref, env)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProbe(b *testing.B) {
	for b.Loop() {
		if _, err := host.Probe(false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	in := buildInput(b)
	for b.Loop() {
		if _, err := resolve.Plan(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	plan, err := resolve.Plan(buildInput(b))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		prog, err := program.Compile(plan)
		if err == nil {
			err = prog.Encode(make([]byte, prog.Size()), program.Slots{})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func buildInput(b *testing.B) resolve.Input {
	env := profiles.HostEnv()
	prof, err := profiles.Load(profiles.Ref{Builtin: "build"}, env)
	if err != nil {
		b.Fatal(err)
	}
	facts, err := host.Probe(false)
	if err != nil {
		b.Fatal(err)
	}
	return resolve.Input{Profile: prof, Facts: facts, Argv: []string{"true"}}
}

func BenchmarkValidate(b *testing.B) {
	plan, err := resolve.Plan(buildInput(b))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := plan.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}
