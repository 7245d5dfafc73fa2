package limits

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestLogout is for root of a guest whose logind kills what is left of sessions: the
// last one of somebody ends, and with it all of their sandboxes, whoever counts them.
func TestLogout(t *testing.T) {
	if os.Getenv("SBX_LOGOUT") != "1" {
		sbxtest.Require(t, sbxtest.Missing("guest", "only in that of test/vm somebody can be logged out"))
	}
	const uid = 1001 // alice, whose systemd does not stay
	in := func(script string) string {
		t.Helper()
		cmd := exec.Command("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--uid=alice", "-p", "PAMName=login", "-p", "WorkingDirectory=/home/alice",
			"sh", "-ec", "sbx=$0; mkdir -p w; cd w; "+script, sbxtest.Sbx(t))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v, %s", script, err, out)
		}
		return string(out)
	}
	got := in(`$sbx run -q -d --name grouped -m 64M -- sleep 1000 >/dev/null
$sbx run -q -d --name plain --set limits.cgroup=never -- sleep 1000 >/dev/null
$sbx inspect -f '{{.State.Status}}' grouped plain`)
	if got != "running\nrunning\n" {
		t.Errorf("while logged in: %s", got)
	}
	world.Until(t, "every process of the person is gone", func() bool { return !lives(uid) })
	for _, left := range []string{fmt.Sprintf("/sys/fs/cgroup/user.slice/user-%d.slice", uid), fmt.Sprintf("/run/user/%d", uid)} {
		world.Until(t, left+" is gone", func() bool { return !world.Exists(left) })
	}
	got = in(`$sbx ps -aq; $sbx run -q --rm --name grouped -m 64M -- echo again`)
	if got != "again\n" {
		t.Errorf("logged in anew: %s", got)
	}
}

// lives says whether anybody runs a process.
func lives(uid int) bool {
	list, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), fmt.Sprintf("\nUid:\t%d\t", uid)) {
			return true
		}
	}
	return false
}
