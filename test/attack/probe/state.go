package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// state writes to a file what this process may do and sees, a line each, as far
// as two sandboxes of one profile agree in it. The file is there when it is
// complete.
func state(args []string) {
	var b bytes.Buffer
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Fprintf(&b, "status %v\n", err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Umask", "Uid", "Gid", "Groups", "NSpid", "NSsid", "SigBlk", "SigIgn", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters":
			fmt.Fprintf(&b, "%s %s\n", name, strings.Join(strings.Fields(value), " "))
		}
	}
	for _, ns := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		link, _ := os.Readlink("/proc/self/ns/" + ns)
		fmt.Fprintf(&b, "namespace %s\n", link)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		// proc_pid_mountinfo(5): ids and the device differ from run to run.
		f := strings.Fields(line)
		fmt.Fprintf(&b, "mount %s\n", strings.Join(slices.Delete(f, 0, 3), " "))
	}
	limits, _ := os.ReadFile("/proc/self/limits")
	for line := range strings.Lines(string(limits)) {
		fmt.Fprintf(&b, "limit %s\n", strings.Join(strings.Fields(line), " "))
	}
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && !strings.HasPrefix(to, "anon_inode:[event") { // the runtime's
			to, _, _ = strings.Cut(to, "[")
			fmt.Fprintf(&b, "descriptor %s %s\n", filepath.Base(fd), to)
		}
	}
	for _, dir := range []string{"/", "/dev", "/etc", "/tmp", "/proc/sys", os.Getenv("HOME")} {
		list, _ := os.ReadDir(dir)
		for _, e := range list {
			fmt.Fprintf(&b, "entry %s %s\n", filepath.Join(dir, e.Name()), e.Type())
		}
	}
	name, _ := os.Hostname()
	cwd, _ := os.Getwd()
	nice, _ := unix.Getpriority(unix.PRIO_PROCESS, 0)
	adj, _ := os.ReadFile("/proc/self/oom_score_adj")
	fmt.Fprintf(&b, "host %s, directory %s, oom %s\npriority %d\n", name, cwd, bytes.TrimSpace(adj), nice)
	for _, kv := range os.Environ() {
		fmt.Fprintf(&b, "variable %s\n", kv)
	}
	tmp := args[0] + ".new"
	if err := os.WriteFile(tmp, b.Bytes(), 0o600); err != nil {
		fail("%v", err)
	}
	if err := os.Rename(tmp, args[0]); err != nil {
		fail("%v", err)
	}
}
