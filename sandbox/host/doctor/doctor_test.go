package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// TestMain is the second program too that Examine starts: this one, again.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == ProbeVerb {
		if err := Try(os.Args[2], os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestDoctor: where a sandbox can be started, nothing required is missing.
func TestDoctor(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS)
	sbxtest.Leftovers(t)
	f, err := host.Probe(true)
	if err != nil {
		t.Fatal(err)
	}
	checks := Examine(f)
	if !Startable(checks) {
		t.Errorf("not startable: %+v", checks)
	}
	seen := map[string]bool{}
	for _, c := range checks {
		switch {
		case c.Name == "" || seen[c.Name]:
			t.Errorf("%+v: no name of its own", c)
		case c.State != CheckOK && c.State != CheckDegraded && c.State != CheckMissing:
			t.Errorf("%+v: unknown state", c)
		case c.State != CheckOK && (c.Why == "" || c.Fix == ""):
			t.Errorf("%+v: does not say why, or what to do", c)
		case c.State == CheckOK && (c.Fix != "" || c.Admin):
			t.Errorf("%+v: nothing is to be mended", c)
		}
		seen[c.Name] = true
	}
	for _, name := range []string{"kernel", "user_namespaces", "mount_namespace", "net_namespace", "proc", "overlay_native", "subordinate_ids", "cgroups", "landlock", "path"} {
		if !seen[name] {
			t.Errorf("there is no check %s", name)
		}
	}
}

func TestStartable(t *testing.T) {
	lost := missing("x", "", "", false)
	for _, tt := range []struct {
		checks []Check
		want   bool
	}{
		{[]Check{required(ok("a", "")), lost}, true},
		{[]Check{required(lost), ok("a", "")}, false},
		{[]Check{required(Check{State: CheckDegraded})}, true},
	} {
		if got := Startable(tt.checks); got != tt.want {
			t.Errorf("%+v: %v", tt.checks, got)
		}
	}
}

// TestUserNamespaceFixes: what a refusal means.
func TestUserNamespaceFixes(t *testing.T) {
	t.Setenv("SBX", "")
	for _, tt := range []struct {
		err  error
		want string
	}{
		{unix.EACCES, "/etc/apparmor.d/sbx"},
		{unix.ENOSPC, "user.max_user_namespaces=15000"},
		{unix.EPERM, ""}, // depends on a sysctl
		{unix.EINVAL, "CONFIG_USER_NS"},
	} {
		c := noUserNamespace(fmt.Errorf("fork/exec: %w", tt.err))
		if c.State != CheckMissing || !c.Admin || c.Fix == "" || !strings.Contains(c.Fix, tt.want) || !strings.Contains(c.Why, tt.err.Error()) {
			t.Errorf("%v: %+v", tt.err, c)
		}
	}
	t.Setenv("SBX", "1")
	if c := noUserNamespace(unix.ENOSPC); c.Admin || !strings.Contains(c.Fix, "nested_userns") {
		t.Errorf("in a sandbox: %+v", c)
	}
	if c := powerless("mounting"); !strings.Contains(c.Fix, "userns,") || !strings.Contains(c.Fix, "profile sbx /") {
		t.Errorf("without capabilities: %+v", c)
	}
	for got, want := range map[string]string{"ENOSPC": "user.max_net_namespaces=", "EINVAL": "a kernel", "EPERM": "container"} {
		if c := namespace("net_namespace", "user.max_net_namespaces", got); c.State != CheckMissing || !strings.Contains(c.Fix+c.Why, want) {
			t.Errorf("%s: %+v", got, c)
		}
	}
}

func TestTryRefuses(t *testing.T) {
	var b bytes.Buffer
	if err := Try("everything", &b); err == nil || b.Len() != 0 {
		t.Errorf("%v, %q", err, &b)
	}
}

// TestOwnPath: another program of the same name that is found first.
func TestOwnPath(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	own, other := t.TempDir(), t.TempDir()
	if err := os.Symlink(exe, own+"/sbx"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other+"/sbx", []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{own: CheckOK, own + ":" + other: CheckOK, other + ":" + own: CheckDegraded, "/nonexistent": CheckDegraded} {
		t.Setenv("PATH", path)
		if c := ownPath(host.Facts{Exe: exe}); c.State != want {
			t.Errorf("PATH=%s: %+v", path, c)
		}
	}
}

func TestCgroupCheck(t *testing.T) {
	none := errors.New("there is no systemd of yours")
	for _, tt := range []struct {
		name     string
		c        host.Cgroup
		state    string
		why, fix string
		admin    bool
	}{
		{"all", host.Cgroup{Root: "/c", Systemd: host.Maker{Controllers: []string{"cpuset", "cpu", "io", "memory", "pids"}}}, CheckOK, "your systemd makes them", "", false},
		{"as Debian has it", host.Cgroup{Root: "/c", Systemd: host.Maker{Controllers: []string{"cpu", "memory", "pids"}}}, CheckDegraded,
			"missing, and limits by them with it: cpuset, io", "Delegate=cpu cpuset io memory pids\\n' >/etc/systemd/system/user@.service.d/delegate.conf", true},
		{"no controllers", host.Cgroup{Root: "/c"}, CheckDegraded, "the controllers none", "systemctl restart user@1000.service", true},
		{"version 1", host.Cgroup{Systemd: host.Maker{Err: errors.New("not mounted")}, Subtree: host.Maker{Err: none}}, CheckMissing, "not mounted; limits hold for each process", "systemd.unified_cgroup_hierarchy=1", true},
		{"no session", host.Cgroup{Root: "/c", Scope: "/x", Systemd: host.Maker{Err: none}, Subtree: host.Maker{Err: none}}, CheckMissing, "no systemd of yours", "loginctl enable-linger dev", true},
		{"no helper", host.Cgroup{Root: "/c", Systemd: host.Maker{Err: none}, Subtree: host.Maker{Err: none}}, CheckMissing, "", "install sbx and sbx-scope together", false},
		{"delegated", host.Cgroup{Root: "/c", Systemd: host.Maker{Err: none}, Subtree: host.Maker{Group: "/c/d", Controllers: []string{"memory"}}}, CheckDegraded, "the delegated group /c/d makes them", "Delegate=", true},
	} {
		got := cgroupCheck(&tt.c, 1000, "dev")
		if got.State != tt.state || !strings.Contains(got.Why, tt.why) || !strings.Contains(got.Fix, tt.fix) || got.Admin != tt.admin || tt.fix == "" && got.Fix != "" {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}
