package attack

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

const noLandlock = "[security]\nlandlock = \"off\"\n"

// landlockRows are what the mounts and namespaces do not hold, or would not if
// they failed. Their control is the same sandbox without Landlock.
func landlockRows() []row {
	needs := []sbxtest.Feature{sbxtest.Landlock}
	return []row{{
		id: "R34-abstract-sockets", what: "the host's, with the host's network", needs: needs,
		do: func(t *testing.T, w *world.World) {
			name := fmt.Sprintf("sbx-attack-%d", os.Getpid())
			l, err := net.Listen("unix", "@"+name)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			const host = "[network]\nmode = \"host\"\n"
			for _, x := range []struct{ what, profile, want string }{
				{"control: without Landlock", host + noLandlock, "reached\n"},
				{"with the host's network", host, "denied: EPERM\n"},
				{"and namespaces inside", host + "[security]\nnested_userns = true\n", "denied: EPERM\n"},
				{"with a network of its own", "", "denied: ECONNREFUSED\n"},
			} {
				if got := w.Run(t, w.Sandboxed(w.Profile(t, x.profile), w.Probe, "abstract", name)...); got.Out != x.want {
					t.Errorf("%s it says %q, want %q; %s", x.what, got.Out, x.want, got.Err)
				}
			}
		},
	}, {
		id: "R54-fifo", what: "writing to one by a read-only bind", needs: needs,
		do: func(t *testing.T, w *world.World) {
			fifo := w.Work + "/ro/fifo"
			w.Write(t, w.Work+"/ro/x", "")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			// The reader, which is also a writer: neither open waits.
			reader, err := unix.Open(fifo, unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(reader)
			bind := expander(w).Replace("[workspace]\naccess = \"none\"\n[process]\nworking_dir = \"/\"\n[mounts.\"/mnt/ro\"]\nsource = \"WORK/ro\"\n[mounts.\"/mnt/fifo\"]\nsource = \"WORK/ro/fifo\"\n")
			probe := []string{w.Probe, "all", "write", "/mnt/ro/fifo", "--", "write", "/mnt/fifo", "--", "write", "/mnt/ro/x"}
			both := func(result string) string {
				return "write /mnt/ro/fifo: " + result + "\nwrite /mnt/fifo: " + result + "\nwrite /mnt/ro/x: denied: EROFS\n"
			}
			probeAt := "[mounts.\"" + w.Probe + "\"]\nsource = \"" + w.Probe + "\"\n"
			for _, x := range []struct{ what, profile, want string }{
				{"control: without Landlock", bind + probeAt + noLandlock, both("reached")},
				{"with Landlock", bind + probeAt, both("denied: EACCES")},
			} {
				got := w.Run(t, w.Sandboxed(w.Profile(t, x.profile), probe...)...)
				if got.Out = strings.ReplaceAll(got.Out, "/mnt/ro/x: denied: EACCES", "/mnt/ro/x: denied: EROFS"); got.Out != x.want {
					t.Errorf("%s it says %q, want %q; %s", x.what, got.Out, x.want, got.Err)
				}
			}
		},
	}, {
		id: "R10-inherited-fds", what: "a file on standard input, opened anew to be written", needs: needs,
		do: func(t *testing.T, w *world.World) {
			file := w.Victim + "/input"
			for _, x := range []struct{ what, profile, want string }{
				{"control: without Landlock", noLandlock, "opens /dev/stdin: reached\nwrite /proc/self/fd/0: reached\nwrite /dev/stdout: reached\n"},
				{"with Landlock", "", "opens /dev/stdin: reached\nwrite /proc/self/fd/0: denied: EACCES\nwrite /dev/stdout: reached\n"},
			} {
				w.Write(t, file, "text")
				in, err := os.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				out, err := os.Create(w.Victim + "/output")
				if err != nil {
					t.Fatal(err)
				}
				cmd := w.Command(w.Sandboxed(w.Profile(t, x.profile), w.Probe, "all", "opens", "/dev/stdin", "--", "write", "/proc/self/fd/0", "--", "write", "/dev/stdout")...)
				cmd.Stdin, cmd.Stdout = in, out
				err = cmd.Run()
				in.Close()
				out.Close()
				if got := content(w.Victim + "/output"); got != x.want {
					t.Errorf("%s it says %q, want %q; %v", x.what, got, x.want, err)
				}
			}
		},
	}, {
		id: "R10-inherited-fds", what: "a directory that somebody sends by a socket", needs: needs,
		do: func(t *testing.T, w *world.World) {
			for _, x := range []struct{ what, profile, want string }{
				{"control: without Landlock", noLandlock, "reached\nreached\nreached\n"},
				{"with Landlock", "", "denied: EACCES\ndenied: EACCES\ndenied: EACCES\n"},
				{"with the host's tree", "[root]\nsource = \"/\"\n", "reached\ndenied: EACCES\ndenied: EACCES\n"},
			} {
				w.Write(t, w.Victim+"/sent", "text")
				os.Remove(w.Victim + "/sent.new")
				p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				dir, err := os.Open(w.Victim)
				if err != nil {
					t.Fatal(err)
				}
				if err := unix.Sendmsg(p[1], []byte{0}, unix.UnixRights(int(dir.Fd())), nil, 0); err != nil {
					t.Fatal(err)
				}
				dir.Close()
				stdin := os.NewFile(uintptr(p[0]), "socket")
				cmd := w.Command(w.Sandboxed(w.Profile(t, x.profile), w.Probe, "handed", "sent")...)
				cmd.Stdin = stdin
				got := world.Wait(t, cmd)
				stdin.Close()
				unix.Close(p[1])
				if got.Out != x.want {
					t.Errorf("%s it says %q, want %q; %s", x.what, got.Out, x.want, got.Err)
				}
			}
		},
	}, {
		id: "R32-devices", what: "making one, where Landlock judges first", needs: needs, profile: "[user]\nas = \"root\"\n",
		probe:   []string{"PROBE", "all", "mknod", "/tmp/b", "block", "--", "mknod", "WORK/c", "char", "--", "mknod", "WORK/f", "fifo"},
		outside: []string{"PROBE", "mknod", "WORK/f", "fifo"},
		control: "reached",
		want:    "mknod /tmp/b block: denied: EACCES\nmknod WORK/c char: denied: EACCES\nmknod WORK/f fifo: reached",
	}, {
		id: "R32-devices", what: "making and removing names in /dev", needs: needs,
		do: func(t *testing.T, w *world.World) {
			sh := `mkdir /dev/x && echo made; mv /dev/fd /dev/y && echo moved; rm /dev/stdin && echo removed; echo x >/dev/null && echo written`
			if got := w.Run(t, w.Sandboxed(w.Profile(t, noLandlock), "sh", "-c", sh)...); got.Out != "made\nmoved\nremoved\nwritten\n" {
				t.Errorf("control: without Landlock it says %q; %s", got.Out, got.Err)
			}
			if got := w.Run(t, w.Sandboxed(w.Profile(t, ""), "sh", "-c", sh)...); got.Out != "written\n" {
				t.Errorf("inside it says %q; %s", got.Out, got.Err)
			}
		},
	}}
}
