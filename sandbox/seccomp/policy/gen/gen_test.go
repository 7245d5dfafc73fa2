package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/moby/profiles/seccomp"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

func TestGeneratedFiles(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what x/sys and moby's profile make: go generate ./sandbox/seccomp/policy", name)
		}
	}
}

// TestParse: moby's profile as JSON goes through the parser of OCI profiles,
// with and without capabilities.
func TestParse(t *testing.T) {
	text, err := json.Marshal(seccomp.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []policy.Arch{policy.AMD64, policy.ARM64} {
		bare, err := policy.ParseOCI(text, a, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(bare.Skipped, "riscv_hwprobe") {
			t.Errorf("%v: skipped names are %v", a, bare.Skipped)
		}
		admin, err := policy.ParseOCI(text, a, []string{"CAP_SYS_ADMIN"})
		if err != nil {
			t.Fatal(err)
		}
		small, err := compile.Raw(bare)
		if err != nil {
			t.Fatal(err)
		}
		large, err := compile.Raw(admin)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: %d rules, %d instructions; with CAP_SYS_ADMIN %d, %d", a, len(bare.Rules), len(small), len(admin.Rules), len(large))
		mount := func(p policy.Policy) bool {
			return slices.ContainsFunc(p.Rules, func(r policy.Rule) bool { return slices.Contains(r.Names, "mount") })
		}
		if mount(bare) || !mount(admin) {
			t.Errorf("%v: mount is allowed: %v without capabilities, %v with CAP_SYS_ADMIN", a, mount(bare), mount(admin))
		}
	}
}
