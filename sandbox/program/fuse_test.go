package program

import (
	"strings"
	"testing"
)

// TestServer: the server's paths are all by descriptor, it dies with the starter
// whatever becomes of its credentials, and it keeps no descriptor but its own.
func TestServer(t *testing.T) {
	p, err := CompileServer(&Server{Init: 7, Starter: 4711, Path: "/usr/bin/fuse-overlayfs", Device: 8, Lower: []int{9, 10}, Kept: 11,
		Upper: "upper-1", Work: "work-1", Stderr: 12, Null: 13, Free: 20})
	if err != nil {
		t.Fatal(err)
	}
	dump := p.Dump()
	for _, want := range []string{
		`"lowerdir=/proc/self/fd/20:/proc/self/fd/21,upperdir=/proc/self/fd/22/upper-1,workdir=/proc/self/fd/22/work-1"`,
		`"/dev/fd/23"`, "dup3(9, 0x14)", "dup3(0xa, 0x15)", "dup3(0xb, 0x16)", "dup3(8, 0x17)", "close_range(3, 0x13, 4)",
		"dup3(0xd)", "dup3(0xd, 1)", "dup3(0xc, 2)",
	} {
		if !strings.Contains(string(p.Data)+dump, strings.Trim(want, `"`)) {
			t.Errorf("no %s in\n%s", want, dump)
		}
	}
	if len(all(p, "landlock_restrict_self(")) != 0 {
		t.Error("restricted without Landlock")
	}
	join, deaths := find(t, p, "setns(7, 0x10000000)"), all(p, "prctl(1, 9)")
	if len(deaths) != 2 || deaths[0] > join || deaths[1] < join {
		t.Errorf("it dies with the starter at %v, and joins at %d", deaths, join)
	}
	ordered(t, "executed last, without privileges to gain", join, find(t, p, "capset("), find(t, p, "prctl(0x26, 1"), find(t, p, "close_range("), find(t, p, "execve("))
}

// TestServerConfined: with Landlock it has the layers and the system.
func TestServerConfined(t *testing.T) {
	s := &Server{Init: 7, Starter: 4711, Path: "/opt/bin/fuse-overlayfs", Device: 8, Lower: []int{9}, Kept: 11, Upper: "upper", Work: "work", Stderr: 12, Null: 13, Free: 20, Landlock: 7}
	p, err := CompileServer(s)
	if err != nil {
		t.Fatal(err)
	}
	rules := all(p, "landlock_add_rule(")
	if len(rules) != 1+1+8+2+1 {
		t.Errorf("%d rules", len(rules))
	}
	ordered(t, "restricted before it is executed, and after it may have lost the right to", find(t, p, "prctl(0x26, 1"), rules[0], find(t, p, "landlock_restrict_self("), find(t, p, "execve("))
	s.Landlock = 1 // which can't allow that a file is moved
	if p, err = CompileServer(s); err != nil || len(all(p, "landlock_")) > 0 {
		t.Errorf("with ABI 1: %v", err)
	}
}
