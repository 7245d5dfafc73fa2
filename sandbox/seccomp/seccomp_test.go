package seccomp_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox/seccomp"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// TestBuiltin: what is compiled in is what the policy compiles to.
func TestBuiltin(t *testing.T) {
	native, err := policy.ArchOf(runtime.GOARCH)
	if err != nil {
		t.Skip("needs native: ", err)
	}
	for _, name := range policy.Names() {
		for _, v := range []seccomp.Variant{{}, {FakeRoot: true}, {NestedUserNS: true}, {FakeRoot: true, NestedUserNS: true}} {
			code, ok := seccomp.Builtin(name, v)
			if !ok {
				t.Errorf("no filter %s %+v", name, v)
				continue
			}
			p, err := policy.Builtin(name, native, policy.Variant{FakeRoot: v.FakeRoot, NestedUserNS: v.NestedUserNS})
			if err != nil {
				t.Fatal(err)
			}
			if p.AllowsAll() {
				if len(code) != 0 {
					t.Errorf("%s is no filter, and has %d bytes", name, len(code))
				}
				continue
			}
			want, err := compile.Bytes(p)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(code, want) {
				t.Errorf("%s %+v is another filter", name, v)
			}
			code[0]++ // the caller's own
			if again, _ := seccomp.Builtin(name, v); !bytes.Equal(again, want) {
				t.Errorf("%s %+v changed with its copy", name, v)
			}
		}
	}
	if _, ok := seccomp.Builtin("none", seccomp.Variant{}); ok {
		t.Error("there is a filter none")
	}
}

func BenchmarkBuiltin(b *testing.B) {
	for b.Loop() {
		seccomp.Builtin(policy.Strict, seccomp.Variant{})
	}
}
