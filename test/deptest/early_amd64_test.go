package deptest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// child is the package with the Go code that the ELF entry calls before the runtime
// is there.
const child = "github.com/sbx-sandbox/sbx/sandbox/run/internal/child."

// beforeRuntime is what that code may call outside of its own packages, and why it
// does no harm there.
var beforeRuntime = map[string]string{
	"syscall.RawSyscall6":             "a system call and nothing else",
	"runtime.memequal":                "compares, without a heap; what the processor can is not known yet, so in the plainest way",
	"runtime.morestack_noctxt.abi0":   "never called: the entry's g is all zero, so the stack has no end",
	"runtime.gcWriteBarrier1":         "never called: nothing is collected yet",
	"runtime.gcWriteBarrier2":         "the same",
	"runtime.gcWriteBarrier3":         "the same",
	"runtime.wbZero":                  "the same",
	"runtime.panicBounds":             "never called: it looks before it indexes",
	"runtime.panicunsafeslicelen":     "the same",
	"runtime.panicunsafestringlen":    "the same",
	"runtime.panicunsafestringnilptr": "the same",
}

var (
	textLine = regexp.MustCompile(`^TEXT (\S+)\(SB\)`)
	callLine = regexp.MustCompile(`\t(?:CALL|JMP) (\S+)\(SB\)\s*$`)
	indirect = regexp.MustCompile(`\tCALL [^(\s]+\s*$|\tCALL \S*\([A-Z]`)
)

// calls are what each function calls, by name; "a pointer" for one that is not known.
func calls(dump []byte) map[string][]string {
	all, at := map[string][]string{}, ""
	for line := range strings.Lines(string(dump)) {
		if m := textLine.FindStringSubmatch(line); m != nil {
			at = m[1]
			all[at] = []string{}
		} else if m := callLine.FindStringSubmatch(line); m != nil {
			if !slices.Contains(all[at], m[1]) {
				all[at] = append(all[at], m[1])
			}
		} else if indirect.MatchString(line) {
			all[at] = append(all[at], "a pointer")
		}
	}
	return all
}

// reached lists the functions that one calls by and by, and those calls of theirs
// that are not among beforeRuntime.
func reached(all map[string][]string, root string) (functions, strange []string) {
	for todo := []string{root}; len(todo) > 0; todo = todo[1:] {
		f := todo[0]
		if slices.Contains(functions, f) {
			continue
		}
		functions = append(functions, f)
		for _, c := range all[f] {
			switch _, ours := all[c]; {
			case beforeRuntime[c] != "":
			case ours:
				todo = append(todo, c)
			default:
				strange = append(strange, f+" calls "+c)
			}
		}
	}
	return functions, strange
}

// TestBeforeRuntime: what runs before Go's runtime calls nothing of it. On other
// machines the entry calls no Go.
func TestBeforeRuntime(t *testing.T) {
	sbx := filepath.Join(t.TempDir(), "sbx")
	build := exec.Command("go", "build", "-ldflags=-E=sbx_entry", "-o", sbx, "./cmd/sbx") // with its symbols
	build.Dir = sbxtest.Checkout(t)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var stderr bytes.Buffer
	dump := exec.Command("go", "tool", "objdump", "-s", `/sandbox/(run/internal/(child|kept)|seen)\.`, sbx)
	dump.Stderr = &stderr
	out, err := dump.Output()
	if err != nil {
		t.Fatalf("go tool objdump: %v\n%s", err, &stderr)
	}
	all := calls(out)
	for _, root := range []string{"ask", "quick"} {
		functions, strange := reached(all, child+root)
		if len(functions) < 10 {
			t.Errorf("%s calls only %v: were its calls read?", root, functions)
		}
		for _, s := range strange {
			t.Errorf("%s, which runs before Go's runtime, reaches what is not known to do without it: %s", root, s)
		}
	}
	// Control: one that comes after it.
	if _, strange := reached(all, child+"Start"); !slices.ContainsFunc(strange, func(s string) bool { return strings.HasSuffix(s, "runtime.newobject") }) {
		t.Errorf("control: Start, which allocates, is said to call %v", strange)
	}
}
