// Package apparmor puts the Debian package where AppArmor keeps user namespaces
// from programs without a profile, as Ubuntu's does, in a guest of test/vm.
package apparmor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// person is the guest's user; the test runs as root.
const person = "dev"

// mediated names what this kernel's AppArmor judges of namespaces; user namespaces
// are among that from Linux 6.7 on.
const mediated = "/sys/kernel/security/apparmor/features/namespaces/mask"

// copied is sbx where the package's profile does not reach.
const copied = "/opt/copied/bin/sbx"

// landlocked are the flags of a run that may do without namespaces.
const landlocked = copied + " run --set security.fallback=landlock -- "

// root runs a line of the shell as root, and wants it to succeed.
func root(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// as runs a line of the shell as the person, in their project and below the profile
// restricted, and wants it to end with a status and its output to hold every one of
// the texts.
func as(t *testing.T, status int, line string, want ...string) string {
	t.Helper()
	cmd := exec.Command("su", "-l", person, "-c", `mkdir -p project && cd project && exec aa-exec -p restricted -- sh -c "$0"`, "--", line)
	text, err := cmd.CombinedOutput()
	out := string(text)
	if cmd.ProcessState == nil {
		t.Fatalf("%s: %v", line, err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("%s: status %d, want %d\n%s", line, got, status, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("%s: there is no %q in\n%s", line, text, out)
		}
	}
	return out
}

// restrict makes this such a host, with the package and with a copy of sbx that its
// profile does not reach.
func restrict(t *testing.T) {
	t.Helper()
	sbxtest.Require(t, sbxtest.Given("guest", "SBX_DEB"), sbxtest.Root, sbxtest.Tool("apparmor_parser"))
	if mask, err := os.ReadFile(mediated); !strings.Contains(string(mask), "userns_create") {
		sbxtest.Require(t, sbxtest.Missing("AppArmor", fmt.Sprintf("this kernel's does not judge user namespaces, but %q, %v", mask, err)))
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	load(t, here+"/restricted")
	bin := filepath.Dir(sbxtest.Sbx(t))
	root(t, "mkdir -p "+filepath.Dir(copied)+" && cp "+bin+"/sbx "+bin+"/sbx-scope "+filepath.Dir(copied))
	root(t, "dpkg -i "+os.Getenv("SBX_DEB"))
	t.Cleanup(func() { root(t, "dpkg -P sbx; rm -rf /opt/copied ~"+person+"/project") })
	as(t, 1, "unshare -Ur true", "Permission denied") // the control
}

// write makes a file for the time of the test.
func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(file) })
	return file
}

// load loads a profile of AppArmor's for the time of the test.
func load(t *testing.T, file string) {
	t.Helper()
	root(t, "apparmor_parser -r "+file)
	t.Cleanup(func() { root(t, "apparmor_parser -R "+file) })
}

// TestPackage: the package's profile lets its sbx have namespaces, and no other
// program.
func TestPackage(t *testing.T) {
	restrict(t)
	as(t, 0, "sbx run -- sh -c 'echo inside; id -un; touch made; readlink /proc/self/ns/user' && ls && readlink /proc/self/ns/user", "inside\n", person+"\n", "made\n")
	as(t, 0, "sbx run strict -- echo strict", "strict\n")
	as(t, 0, "sbx up && sbx exec -- echo joined && sbx down", "joined\n")
	// What runs inside has no namespaces by sbx's, neither with the profile.
	as(t, 1, "sbx run -- unshare -Ur true")
	as(t, 0, "sbx doctor --json | grep -A3 user_namespaces", `"ok"`)
	root(t, "dpkg -P sbx")
	if out := root(t, "cat /sys/kernel/security/apparmor/profiles"); regexp.MustCompile(`(?m)^sbx `).MatchString(out) {
		t.Errorf("the profile is still loaded:\n%s", out)
	}
}

// TestRefused: an sbx without a profile says what refuses it and how that is mended,
// does without namespaces only where the profile allows that, and has them by what
// it said.
func TestRefused(t *testing.T) {
	restrict(t)
	as(t, 125, copied+" run -- touch ran", "permission denied", "a security module (AppArmor, SELinux) forbids", "/etc/apparmor.d/sbx", `security.fallback = "landlock"`)
	as(t, 125, copied+" run --set security.fallback=landlock strict -- touch ran", "user is required")
	if _, err := os.Stat("/home/" + person + "/project/ran"); err == nil {
		t.Error("the command ran")
	}
	alone(t)
	out := as(t, 1, copied+" doctor", "user_namespaces", "apparmor_parser -r /etc/apparmor.d/sbx", copied+" flags=(unconfined)", "landlock_fallback")
	_, rest, _ := strings.Cut(out, "apparmor_parser -r /etc/apparmor.d/sbx\n")
	begin, end := strings.Index(rest, "abi <abi/4.0>"), strings.Index(rest, "}\n")
	if begin < 0 || end < begin {
		t.Fatalf("there is no profile in what doctor says:\n%s", out)
	}
	load(t, write(t, "/etc/apparmor.d/sbx-test", rest[begin:end+2]))
	given(t)
}

// given: the copy has namespaces now.
func given(t *testing.T) {
	t.Helper()
	if out := as(t, 0, copied+" run -- sh -c 'echo $$; id -un'", person+"\n"); strings.Contains(out, "warning") || !strings.Contains(out, "2\n") {
		t.Errorf("with the profile that doctor gave it says\n%s", out)
	}
	as(t, 1, "unshare -Ur true", "Permission denied") // others have none, as before
}

// alone: what runs by Landlock and the filters alone is kept from the home.
func alone(t *testing.T) {
	t.Helper()
	root(t, "su -l "+person+" -c 'mkdir -p ~/.ssh && echo s3cret >~/.ssh/id'")
	as(t, 0, "cat ~/.ssh/id", "s3cret\n") // the control
	as(t, 0, landlocked+"sh -c 'echo inside; touch made' && ls", "warning: this host refuses user namespaces", "inside\n", "made\n")
	if out := as(t, 1, landlocked+"cat /home/"+person+"/.ssh/id", "ermission denied"); strings.Contains(out, "s3cret") {
		t.Error("a secret was read")
	}
	as(t, 0, copied+" explain --set security.fallback=landlock", "this host refuses user namespaces", "lost without namespaces: a loopback")
}

// TestPowerless: a profile may give the namespace and no capability in it, as
// Ubuntu's unprivileged_userns does to what has no profile.
func TestPowerless(t *testing.T) {
	restrict(t)
	load(t, write(t, "/etc/apparmor.d/sbx-test", `abi <abi/4.0>,
profile sbx-test `+copied+` {
  userns,
  audit deny capability,
  file, network, signal, ptrace, unix, dbus, mount, umount, pivot_root, mqueue, io_uring, change_profile,
}
`))
	as(t, 125, copied+" run -- touch ran", "they can be made, but give no capabilities", "/etc/apparmor.d/sbx")
	if _, err := os.Stat("/home/" + person + "/project/ran"); err == nil {
		t.Error("the command ran")
	}
	alone(t)
}
