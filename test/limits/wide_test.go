package limits

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// newWideWorld is one whose administrator has delegated every controller that
// systemd can.
func newWideWorld(t *testing.T) *world.World {
	t.Helper()
	if os.Getenv("SBX_WIDE") != "1" {
		sbxtest.Require(t, sbxtest.Missing("all controllers", "only the guest of test/vm has them delegated"))
	}
	return newWorld(t)
}

func TestProcessors(t *testing.T) {
	w := newWideWorld(t)
	p := w.Profile(t, "[limits]\ncpuset = \"1\"\n[policy]\nrequire = [\"cpuset\"]\n")
	// Another processor can't be chosen.
	got := w.Run(t, w.Sandboxed(p, "sh", "-c", "nproc; taskset -c 0 nproc")...)
	if got.Out != "1\n" || got.Code == 0 || !strings.Contains(got.Err, "Invalid argument") {
		t.Errorf("status %d, %q, %q", got.Code, got.Out, got.Err)
	}
	soft := w.Profile(t, "[limits]\ncgroup = \"never\"\ncpuset = \"1\"\n")
	if got := w.Run(t, w.Sandboxed(soft, "sh", "-c", "nproc; taskset -c 0 nproc")...); got.Out != "1\n1\n" {
		t.Errorf("control: without a group: status %d, %q, %q", got.Code, got.Out, got.Err)
	}
}

func TestIO(t *testing.T) {
	w := newWideWorld(t)
	write := func(profile string) time.Duration {
		began := time.Now()
		got := w.Run(t, w.Sandboxed(w.Profile(t, profile), "dd", "if=/dev/zero", "of=f", "bs=256k", "count=16", "oflag=direct")...)
		if got.Code != 0 {
			t.Errorf("status %d, %q", got.Code, got.Err)
		}
		return time.Since(began)
	}
	held := write("[limits]\nio_write_bps = [\"" + w.Work + ":1M\", \"/:2M\"]\n[policy]\nrequire = [\"io-limit\"]\n")
	if held < 3*time.Second {
		t.Errorf("with 1 MiB a second, 4 MiB took %v", held)
	}
	// The control: without the limit it can be done in half the time. How long it
	// takes on a busy machine says nothing, so the best of some tries counts.
	var free []time.Duration
	for range 10 {
		if free = append(free, write("[limits]\ncgroup = \"always\"\n")); slices.Min(free) < held/2 {
			break
		}
	}
	t.Logf("4 MiB took %v, with 1 MiB a second %v", free, held)
	if slices.Min(free) >= held/2 {
		t.Errorf("control: without a limit 4 MiB took %v, with 1 MiB a second %v", free, held)
	}
	got := w.Run(t, w.Sandboxed(w.Profile(t, "[limits]\nio_write_bps = [\"/proc:1M\"]\n"), "true")...)
	if got.Code != 125 || !strings.Contains(got.Err, "limits.io_write_bps: limiting /proc: /proc lies on no single block device") {
		t.Errorf("status %d, %q", got.Code, got.Err)
	}
}
