package attack

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// What attackPID of the probe tries, in order.
var pidTries = []string{"environ", "maps", "auxv", "mem", "exe", "open exe", "root", "in root", "cwd", "fd", "open fd", "mnt", "user", "getfd", "vm", "ptrace"}

func every(names []string, result string) string {
	return strings.Join(names, ": "+result+"\n") + ": " + result
}

// denials is what the probe says about PID 1: which errno is the kernel's affair.
func denials(names []string) string {
	return `~^(` + strings.Join(names, `: denied: E(PERM|ACCES)\n`) + `: denied: E(PERM|ACCES)\n)$`
}

func processRows() []row {
	var all []row
	for _, who := range []struct{ name, profile string }{
		{"as oneself", ""},
		{"as fake root", "[user]\nas = \"root\"\n"},
		{"with own time", "[namespaces]\ntime = \"private\"\n"},
	} {
		all = append(all, row{
			id: "R15-init", what: "PID 1, " + who.name, profile: who.profile,
			probe: []string{"PROBE", "pid", "1"}, outside: []string{"PROBE", "pid", "child"},
			control: every(pidTries, "reached"), want: denials(pidTries),
		}, row{
			id: "R15-init", what: "rights of PID 1, " + who.name, profile: who.profile,
			// Init gives up what fake root keeps once the command has been started.
			probe:   []string{"sh", "-c", `sleep 0.3; exec "$@"`, "sh", "PROBE", "status", "1", "CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd", "NoNewPrivs"},
			outside: []string{"PROBE", "status", "self", "CapBnd", "NoNewPrivs"},
			control: "~CapBnd 0*[1-9a-f].* NoNewPrivs 0|NoNewPrivs 0 .*",
			want:    "~^CapInh 0{16} CapPrm (0{16}|00000000800405fb) CapEff 0{16} CapBnd (0{16}|00000000800405fb) CapAmb 0{16} NoNewPrivs 1\n$",
		})
	}
	all = append(all, row{
		id: "R15-init", what: "PID 1 with a range of ids", needs: []sbxtest.Feature{sbxtest.Subuid}, profile: "[user]\nas = \"root\"\nmap = \"range\"\n",
		probe: []string{"PROBE", "pid", "1"}, outside: []string{"PROBE", "pid", "child"},
		control: every(pidTries, "reached"), want: denials(pidTries),
	}, row{
		id: "R15-init", what: "what sbx was called with",
		do: func(t *testing.T, w *world.World) {
			p := w.Home + "/profiles/a-name-to-hide.toml"
			w.Write(t, p, "version = 1\n")
			w.Env = append(w.Env, "A_TOKEN=to-hide")
			got := w.Run(t, w.Sandboxed(p, "sh", "-c", "cat /proc/1/cmdline /proc/1/environ /proc/1/comm 2>/dev/null | tr '\\0' '\\n'")...)
			if strings.Contains(got.Out, "to-hide") || !strings.Contains(got.Out, "sbx-init") {
				t.Errorf("inside, of PID 1 can be read %q", got.Out)
			}
			// Outside, the same of a process of one's own.
			if got := w.Run(t, "sh", "-c", "cat /proc/self/cmdline /proc/self/environ | tr '\\0' '\\n'"); !strings.Contains(got.Out, "to-hide") {
				t.Errorf("control: outside can be read %q", got.Out)
			}
		},
	}, row{
		id: "R16-binary", what: "writing to it by /proc/PID/exe",
		setup: func(t *testing.T, w *world.World) {
			text, err := os.ReadFile(w.Probe)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(t, w.Work+"/copy", string(text))
			if err := os.Chmod(w.Work+"/copy", 0o755); err != nil {
				t.Fatal(err)
			}
		},
		probe: []string{"PROBE", "overwrite", "1"}, outside: []string{"PROBE", "overwrite", "child", "WORK/copy"},
		control: "reached", want: "denied: EACCES",
	}, row{
		id: "R16-binary", what: "writing to it while it runs",
		do: func(t *testing.T, w *world.World) {
			// The binary lies in the project, where a sandbox could write it.
			text, err := os.ReadFile(w.Sbx)
			if err != nil {
				t.Fatal(err)
			}
			w.Sbx = w.Work + "/sbx"
			w.Write(t, w.Sbx, string(text))
			if err := os.Chmod(w.Sbx, 0o755); err != nil {
				t.Fatal(err)
			}
			before := sha256.Sum256(text)
			sh := `for p in /proc/[1-9]/exe; do true >>$p; true >$p; done 2>/dev/null; true >>` + w.Sbx + `; rm -f ` + w.Sbx + `; cp /bin/true ` + w.Sbx + `; true`
			got := w.Run(t, w.Sandboxed(w.Profile(t, ""), "sh", "-c", sh)...)
			if after := sha256.Sum256([]byte(content(w.Sbx))); after != before {
				t.Errorf("the binary changed; %s", got.Err)
			}
			w.Run(t, "sh", "-c", sh)
			if after := sha256.Sum256([]byte(content(w.Sbx))); after == before {
				t.Error("control: outside, the binary did not change")
			}
		},
	}, row{
		id: "R10-inherited-fds", what: "files, directories, sockets and more",
		do: func(t *testing.T, w *world.World) {
			dir, err := os.Open(w.Victim)
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
			if err != nil {
				t.Fatal(err)
			}
			ns, err := os.Open("/proc/self/ns/user")
			if err != nil {
				t.Fatal(err)
			}
			defer ns.Close()
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			sockf, pidf := os.NewFile(uintptr(sock), "socket"), os.NewFile(uintptr(pidfd), "pidfd")
			defer sockf.Close()
			defer pidf.Close()
			extra := []*os.File{dir, sockf, pidf, ns, null}
			for len(extra) < 300 {
				extra = append(extra, null)
			}
			for _, profile := range []string{"", "[namespaces]\ntime = \"private\"\n", "[process]\ntty = \"always\"\n"} {
				cmd := w.Command(w.Sandboxed(w.Profile(t, profile), w.Probe, "all", "fds", "--", "readat", "3", "key", "--", "read", "/proc/self/fd/3/key")...)
				cmd.ExtraFiles = extra
				if got := world.Wait(t, cmd); strings.ReplaceAll(got.Out, "\r", "") != "fds: none\nreadat 3 key: denied: EBADF\nread /proc/self/fd/3/key: denied: ENOENT\n" {
					t.Errorf("profile %q: inside it says %q, %q", profile, got.Out, got.Err)
				}
			}
			cmd := w.Command(w.Probe, "all", "fds", "--", "readat", "3", "key", "--", "read", "/proc/self/fd/3/key")
			cmd.ExtraFiles = extra
			if got := world.Wait(t, cmd); !strings.HasPrefix(got.Out, "fds: 3 4 5 6 7 ") || !strings.HasSuffix(got.Out, " 302\nreadat 3 key: reached\nread /proc/self/fd/3/key: reached\n") {
				t.Errorf("control: outside it says %q", got.Out)
			}
		},
	}, row{
		id: "R10-inherited-fds", what: "a directory on a standard descriptor",
		do: func(t *testing.T, w *world.World) {
			for _, flags := range []int{unix.O_RDONLY, unix.O_PATH} {
				for fd := range 3 {
					n, err := unix.Open(w.Victim, flags|unix.O_CLOEXEC, 0)
					if err != nil {
						t.Fatal(err)
					}
					dir := os.NewFile(uintptr(n), w.Victim)
					with := func(argv ...string) *exec.Cmd {
						cmd := w.Command(argv...)
						switch fd {
						case 0:
							cmd.Stdin = dir
						case 1:
							cmd.Stdout = dir
						default:
							cmd.Stderr = dir
						}
						return cmd
					}
					script := fmt.Sprintf("%s readat %d key >%s/said; touch %s/ran", w.Probe, fd, w.Work, w.Work)
					got := world.Wait(t, with(w.Sandboxed(w.Profile(t, ""), "sh", "-c", script)...))
					if got.Code != 125 || world.Exists(w.Work+"/ran") {
						t.Errorf("descriptor %d: status %d, want 125; the command ran: %v", fd, got.Code, world.Exists(w.Work+"/ran"))
					}
					if fd != 1 {
						world.Wait(t, with("sh", "-c", script))
						if said := content(w.Work + "/said"); said != "reached\n" {
							t.Errorf("control: outside, descriptor %d says %q", fd, said)
						}
					}
					os.Remove(w.Work + "/ran")
					dir.Close()
				}
			}
		},
	}, row{
		id: "R10-inherited-fds", what: "descriptors of other processes inside",
		// All are listed before the next program starts, which opens its libraries.
		probe:   []string{"sh", "-c", "all=$(ls -l /proc/[0-9]*/fd/* 2>/dev/null); echo \"$all\" | sed 's/.* -> //' | grep -v -e '^/proc/' -e '^/dev/null$' -e '^pipe:' | wc -l"},
		outside: []string{"sh", "-c", "exec 5</etc/passwd; all=$(ls -l /proc/$$/fd/* 2>/dev/null); echo \"$all\" | sed 's/.* -> //' | grep -v -e '^/proc/' -e '^/dev/null$' -e '^pipe:' | wc -l"},
		control: "1", want: "0",
	}, row{
		id: "R33-processes", what: "signals to processes of the host",
		do: func(t *testing.T, w *world.World) {
			sleep := w.Command("sleep", "60")
			if err := sleep.Start(); err != nil {
				t.Fatal(err)
			}
			defer sleep.Wait()
			defer sleep.Process.Kill()
			pid := fmt.Sprint(sleep.Process.Pid)
			if got := w.Run(t, w.Probe, "kill", pid); got.Out != "reached\n" {
				t.Errorf("control: outside it says %q", got.Out)
			}
			for _, profile := range []string{"", "[root]\nsource = \"/\"\n"} {
				got := w.Run(t, w.Sandboxed(w.Profile(t, profile), w.Probe, "all", "kill", pid, "--", "names", "/proc/"+pid)...)
				if want := "kill " + pid + ": denied: ESRCH\nnames /proc/" + pid + ": denied: ENOENT\n"; got.Out != want {
					t.Errorf("profile %q: inside it says %q, want %q; %s", profile, got.Out, want, got.Err)
				}
				got = w.Run(t, w.Sandboxed(w.Profile(t, profile), "sh", "-c", "ls -d /proc/[0-9]* | wc -w")...)
				if n := strings.TrimSpace(got.Out); n != "3" && n != "4" {
					t.Errorf("profile %q: inside there are %s processes", profile, n)
				}
			}
		},
	}, row{
		id: "R52-setuid", what: "no_new_privs",
		probe:   []string{"PROBE", "status", "self", "NoNewPrivs"},
		control: "NoNewPrivs 0", want: "NoNewPrivs 1",
	}, row{
		id: "R52-setuid", what: "a setuid program of the host",
		// newgrp, su and passwd are setuid root; which exist differs.
		probe: []string{"sh", "-c", `for f in $(find /usr/bin -perm -4000 -user 0 2>/dev/null | head -1); do
			echo found; stat -f -c %a $f >/dev/null; grep -E " /usr [^ ]*nosuid" /proc/self/mountinfo >/dev/null && echo nosuid; done; true`},
		outside: []string{"sh", "-c", `find /usr/bin -perm -4000 | head -1 | sed 's/.*/found/'`},
		control: "found",
		want:    "~^(found\n)?nosuid\n$|^$",
	}, row{
		id: "R35-groups", what: "supplementary groups with a range of ids", needs: []sbxtest.Feature{sbxtest.Subuid},
		do: func(t *testing.T, w *world.World) {
			p := w.Profile(t, "[user]\nmap = \"range\"\n")
			if got := w.Run(t, w.Sandboxed(p, w.Probe, "status", "self", "Groups")...); got.Out != fmt.Sprintf("Groups %d\n", os.Getgid()) {
				t.Errorf("inside it says %q, want the own group alone; %s", got.Out, got.Err)
			}
		},
	}, row{
		id: "R36-setgroups", what: "leaving a group that is refused access",
		probe:   []string{"cat", "/proc/self/setgroups"},
		control: "allow", want: "deny",
	})
	for _, profile := range []string{"", "[user]\nas = \"root\"\n"} {
		all = append(all, row{
			id: "R36-setgroups", what: "the call, profile " + fmt.Sprintf("%q", profile), profile: profile,
			probe: []string{"PROBE", "groups"}, outside: []string{"PROBE", "in-ns", "cat", "/proc/self/setgroups"},
			control: "~^(allow|deny)\n$", want: "denied: EPERM",
		})
	}
	return all
}
