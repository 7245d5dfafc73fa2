package life

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestBundle has other engines run what `sbx generate oci` writes: the command finds
// in it what it finds in the sandbox. runc maps root in any case, so that it takes
// a bundle of fake root.
func TestBundle(t *testing.T) {
	for _, tt := range []struct {
		engine string
		flags  []string
		argv   []string // of the engine, before the bundle's directory
	}{
		{"crun", nil, []string{"crun", "run", "--bundle"}},
		{"crun", []string{"--user=root"}, []string{"crun", "run", "--bundle"}},
		{"runc", []string{"--user=root"}, []string{"runc", "run", "--bundle"}},
	} {
		t.Run(tt.engine+strings.Join(tt.flags, ""), func(t *testing.T) {
			sbxtest.Require(t, sbxtest.Tool(tt.engine))
			sbxtest.Leftovers(t)
			w := world.New(t)
			w.Write(t, w.Work+"/in", "given\n")
			// What a sandbox is for, as the command sees it.
			const script = `id -u; pwd; cat in; echo made >out; cat /etc/passwd | cut -d: -f1; uname -n; echo $TOKEN
ls "$0"/key 2>/dev/null; touch /usr/x 2>/dev/null || echo kept; touch /x 2>/dev/null || echo kept; touch "$HOME/x" && echo home
grep -E '^(NoNewPrivs|CapEff)' /proc/self/status; ls /sys 2>/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1; exit 7`
			args := append(append([]string{}, tt.flags...), "--rm", "-e", "TOKEN=t", "build", "sh", "-c", script, w.Victim)
			want := w.Run(t, append([]string{w.Sbx, "run", "-q"}, args...)...)
			bundle := filepath.Join(w.Home, "bundle")
			if got := w.Run(t, append([]string{w.Sbx, "generate", "oci", "-o", bundle, "--"}, args...)...); got.Code != 0 {
				t.Fatalf("generate: status %d, %s", got.Code, got.Err)
			}
			got := w.Run(t, append(tt.argv, bundle, "sbx-test-"+filepath.Base(w.Home))...)
			if strings.Contains(got.Err, "cgroups in hybrid mode not supported") {
				sbxtest.Require(t, sbxtest.Missing("crun", "control groups of version 2 alone: "+got.Err))
			}
			if got.Code != 7 || got.Out != want.Out || want.Code != 7 || strings.Contains(got.Err, "capabilities") {
				t.Errorf("%s: status %d, %q, %q\nsbx: status %d, %q, %q", tt.engine, got.Code, got.Out, got.Err, want.Code, want.Out, want.Err)
			}
			if text := w.Run(t, "cat", "out"); text.Out != "made\n" {
				t.Errorf("what was written to the project: %q, %q", text.Out, text.Err)
			}
		})
	}
}
