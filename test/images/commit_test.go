package images

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/world"
)

// written is what a sandbox does to the image of layout, and seen is what must be
// there afterwards: in the next run, in an image that is made of it, and in what
// other tools read back.
const (
	written = `set -e
echo newer >/srv/new; busybox ln /srv/new /srv/link; busybox ln -s ../srv/new /srv/sym; busybox mkfifo /srv/fifo
busybox rm /srv/marker; busybox mkdir /srv/marker; echo in >/srv/marker/in
busybox rm -r /var/empty; busybox mkdir /var/empty; echo other >/var/empty/other
busybox mkdir -p /opt/a/b; busybox chmod 2710 /opt/a; busybox chmod 600 /etc/group
busybox rm /bin/env; busybox mkdir -m 1777 /tmp2; >/opt/a/empty; echo x >"/opt/a/$(busybox printf 'odd\nname')"
busybox truncate -s 1M /opt/a/sparse; busybox mv /bin/find /opt/a/found; busybox touch -d '2001-02-03 04:05:06' /opt/a/b
`
	look = `cd /; busybox find srv var opt etc tmp2 bin/env bin/find -exec busybox stat -c '%N %A %u:%g %s' {} + 2>/dev/null | busybox grep -v '^.*directory.*etc/\(hosts\|resolv\)' | busybox sed 's/^\(.* d.*:[0-9]*\) .*/\1/' | busybox sort
busybox cat /srv/link /srv/marker/in /var/empty/other; busybox stat -c %Y /opt/a/b; busybox stat -c %h /srv/new; true`
)

// TestCommit: what was written over an image is there for the next run, and
// becomes a layer that others read as sbx does.
func TestCommit(t *testing.T) {
	for _, m := range []struct {
		name  string
		flags []string
		more  string
	}{
		{"one id", []string{"--userns", "single", "-u", "root"}, ""},
		{"range", []string{"--userns", "range", "-u", "root"}, "busybox chown 1234:77 /srv/new; busybox chown -R 5:6 /opt/a; busybox chown 9 /etc/passwd; busybox chmod 4755 /bin/busybox\n"},
	} {
		t.Run(m.name, func(t *testing.T) {
			s := newSite(t, "umoci", "skopeo", "tar")
			if m.more != "" {
				requireRange(t)
			}
			s.must(t, "image", "import", "--name", "base", s.layout(t))
			kept := append([]string{"--overlay=work"}, m.flags...)
			before := s.on(t, "base", look, m.flags...)
			same(t, "writing", s.on(t, "base", written+m.more, kept...), "")
			want := s.on(t, "base", look, kept...)
			if want.Code != 0 || !strings.Contains(want.Out, "'srv/sym' -> '../srv/new'") || want.Out == before.Out {
				t.Fatalf("going on: status %d, %s%s", want.Code, want.Out, want.Err)
			}
			same(t, "the image itself", s.on(t, "base", look, m.flags...), before.Out)
			diff := s.must(t, "diff", "work")
			for line, there := range map[string]bool{
				"A  srv/new": true, "T  srv/marker  (directory, was a file)": true, "D  var/empty/new": true, "A  var/empty/other": true, "D  bin/env": true, "dev": false, "proc": false, "etc/hosts": false,
				"owner 0:0 to 9:0": m.more != "",
			} {
				if strings.Contains(diff, line) != there {
					t.Errorf("diff: %q: want %v:\n%s", line, there, diff)
				}
			}
			s.refused(t, []string{"the overlay work lies over the image base:latest", "sbx discard work"}, "image", "rm", "base")
			s.must(t, "image", "commit", "-m", "what it is for", "-a", "Me <me@example.com>", "--change", "ENV MORE='a b' COLOUR=red", "-c", `CMD ["echo", "made"]`, "--change", "USER root", "work", "made:1")
			s.committed(t, want, m.flags)
			s.must(t, "discard", "work")
			s.must(t, "image", "rm", "base")
			same(t, "without the image that it was made of", s.on(t, "made:1", look, m.flags...), want.Out)
		})
	}
}

// committed judges the image made:1, and what other tools read of it.
func (s *site) committed(t *testing.T, want world.Result, flags []string) {
	t.Helper()
	same(t, "an image of it", s.on(t, "made:1", look, flags...), want.Out)
	same(t, "its own command", s.sbx(t, "run", "--image", "made:1"), "made\n")
	same(t, "its variables", s.on(t, "made:1", "echo $COLOUR $MORE"), "red a b\n")
	r := s.inspect(t, "made:1")
	if len(r.Layers) != 3 || r.Config.User != "root" {
		t.Errorf("%d layers, user %q", len(r.Layers), r.Config.User)
	}
	for _, form := range []string{"oci-archive", "docker-archive"} {
		to := filepath.Join(s.Home, form)
		s.must(t, "image", "export", "--format", form, "made:1", to)
		config := strings.Join(strings.Fields(s.outside(t, "skopeo", "inspect", "--config", form+":"+to)), "")
		for _, text := range []string{`"COLOUR=red"`, `"MORE=ab"`, `"echo","made"`, `"comment":"whatitisfor"`, `Me\u003cme@example.com\u003e`} {
			if !strings.Contains(config, text) {
				t.Errorf("%s says nothing of %s: %s", form, text, config)
			}
		}
		s.must(t, "image", "import", "--name", "back", to)
		same(t, "back from "+form, s.on(t, "back", look, flags...), want.Out)
		s.must(t, "image", "rm", "back")
	}
	// What umoci unpacks are the same files; whose, only root could say.
	s.outside(t, "skopeo", "copy", "-q", "oci-archive:"+s.Home+"/oci-archive", "oci:"+s.Home+"/back:v1")
	s.outside(t, "umoci", "unpack", "--rootless", "--image", s.Home+"/back:v1", s.Home+"/bundle")
	root := filepath.Join(s.Home, "bundle/rootfs")
	for name, there := range map[string]bool{
		"srv/new": true, "srv/marker/in": true, "srv/gone": false, "var/empty/other": true, "var/empty/new": false, "bin/env": false, "opt/a/odd\nname": true,
		"dev": false, "proc": false, "tmp": false, "run": false, "etc/hosts": false, ".sbx-stash": false, strings.TrimPrefix(s.Work, "/"): false,
	} {
		if _, err := os.Lstat(filepath.Join(root, name)); (err == nil) != there {
			t.Errorf("umoci unpacks %q: %v", name, err)
		}
	}
	s.outside(t, "chmod", "-R", "u+rwx", s.Home+"/bundle")
}

// TestCommitPodman: podman runs what sbx made.
func TestCommitPodman(t *testing.T) {
	s := newSite(t, "podman")
	requireRange(t)
	s.must(t, "image", "import", "--name", "base", s.tree(t))
	flags := []string{"--userns", "range", "-u", "root"}
	same(t, "writing", s.on(t, "base", "echo new >/srv/new; busybox chown 1234:77 /srv/new; busybox rm /srv/gone", append(flags, "--overlay=work")...), "")
	s.must(t, "image", "commit", "--entrypoint", `["sh", "-c"]`, "--change", "CMD busybox ls -ln /srv | busybox tail -n +2 | while read m l u g x; do echo $u:$g; done", "work", "made:1")
	s.must(t, "discard", "work")
	s.must(t, "image", "export", "--format=docker-archive", "made:1", s.Home+"/made.tar")
	podman := []string{"podman", "--root", s.Home + "/podman", "--runroot", s.Home + "/podman-run", "--storage-driver", "vfs"}
	defer func() {
		s.outside(t, append(podman, "system", "reset", "--force")...)
		os.RemoveAll(s.Home + "/podman")
	}()
	s.outside(t, append(podman, "load", "-q", "-i", s.Home+"/made.tar")...)
	id := s.inspect(t, "made:1").ID
	if list := s.outside(t, append(podman, "images", "-q", "--no-trunc")...); !strings.Contains(list, id) {
		t.Errorf("podman has %s, not %s", list, id)
	}
	at := strings.TrimSpace(s.outside(t, append(podman, "create", id)...))
	look := []string{"unshare", "sh", "-c", `m=$("$@" mount ` + at + `) && ls "$m/srv" && stat -c %u:%g "$m/srv/new"`, "sh"}
	out := s.outside(t, slices.Concat(podman, look, podman)...)
	if out != "marker\nnew\n1234:77\n" {
		t.Errorf("podman sees %q", out)
	}
}

// TestCommitWrong: what can't become an image is refused, and nothing is left.
func TestCommitWrong(t *testing.T) {
	s := newSite(t)
	s.must(t, "image", "import", "--name", "base", s.tree(t))
	s.must(t, "image", "tag", "base", "second")
	same(t, "writing", s.on(t, "base", "echo 1 >/srv/.wh.name", "--overlay=odd"), "")
	same(t, "writing", s.sbx(t, "run", "--overlay=host", "--", "sh", "-c", "echo 1 >f"), "")
	same(t, "writing", s.on(t, "base", "echo 1 >/srv/f", "--overlay=only", "--set", "workspace.access=ro"), "")
	for _, c := range []struct {
		want []string
		args []string
	}{
		{[]string{"/srv/.wh.name", "rename it"}, []string{"odd", "x"}},
		{[]string{"the overlay host holds nothing", "--image"}, []string{"host", "x"}},
		{[]string{`no overlay "od" (did you mean odd?)`}, []string{"od", "x"}},
		{[]string{"no name of an overlay"}, []string{"../odd", "x"}},
		{[]string{"an image's name"}, []string{"odd", "X y"}},
		{[]string{`"VOLUMES"`, "STOPSIGNAL"}, []string{"--change", "VOLUMES /x", "odd", "x"}},
		{[]string{"WORKDIR", "absolute"}, []string{"--change", "WORKDIR x", "odd", "x"}},
		{[]string{"CMD", "double quotes"}, []string{"--change", "CMD ['x']", "odd", "x"}},
		{[]string{"usage"}, []string{"odd"}},
	} {
		s.refused(t, c.want, append([]string{"image", "commit"}, c.args...)...)
	}
	if names := s.must(t, "image", "ls"); strings.Contains(names, "x:latest") || len(s.layers(t)) != 1 {
		t.Errorf("left: %s, %d layers", names, len(s.layers(t)))
	}
	s.refused(t, []string{"can't be gone on with", "no layer for the root"}, "run", "--overlay=host", "--image", "base", "--", "sh", "-c", "true")
	s.refused(t, []string{"only what was written over an image", "sbx image commit"}, "apply", "only")
	for _, name := range []string{"odd", "host", "only"} {
		s.must(t, "discard", name)
	}
}

// TestCommitKilled: killed anywhere, a commit leaves the images, and the overlay,
// as they were, and can be done again.
func TestCommitKilled(t *testing.T) {
	s := newSite(t)
	s.must(t, "image", "import", "--name", "base", s.tree(t))
	same(t, "writing", s.on(t, "base", "i=0; while [ $i -lt 300 ]; do echo $i >/srv/f$i; i=$((i+1)); done; busybox dd if=/dev/urandom of=/srv/big bs=64k count=64 2>/dev/null", "--overlay=work"), "")
	for i := range 12 {
		cmd := s.Command(s.Sbx, "image", "commit", "work", fmt.Sprintf("cut:%d", i))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 25 * time.Millisecond)
		_ = cmd.Process.Kill()
		if cmd.Wait() == nil {
			break // it was faster
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got := s.sbx(t, "image", "commit", "work", "made")
		if got.Code == 0 {
			break
		}
		if !strings.Contains(got.Err, "in use") || time.Now().After(deadline) { // until the last of the killed is gone
			t.Fatalf("after it was killed: status %d: %s", got.Code, got.Err)
		}
	}
	same(t, "made at last", s.on(t, "made", "busybox ls /srv | busybox wc -l; cat /srv/f299"), "303\n299\n")
	s.must(t, "discard", "work")
	s.must(t, "image", "prune", "--all")
	if left := s.layers(t); len(left) > 0 {
		t.Errorf("layers are left: %v", left)
	}
}

// TestKeptKilled: a sandbox that is killed, even while its root is made, leaves a
// layer that the next one goes on with.
func TestKeptKilled(t *testing.T) {
	s := newSite(t)
	s.must(t, "image", "import", "--name", "base", s.tree(t))
	run := s.Command(s.Sbx, "run", "--image", "base", "--overlay=work", "--", "sh", "-c", "busybox rm /srv/gone; echo kept >/srv/kept; echo ready; sleep 1000")
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	s.refused(t, []string{"the overlay work is in use"}, "image", "commit", "work", "made")
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait()
	// What a kill in the middle of making the root can leave.
	if err := os.MkdirAll(filepath.Join(s.Home, kept("work"), ".sbx-stash/f"), 0o700); err != nil {
		t.Fatal(err)
	}
	var got world.Result
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got = s.on(t, "base", "cat /srv/kept; ls -a / | busybox grep stash; ls /srv", "--overlay=work")
		if !strings.Contains(got.Err, "in use") || time.Now().After(deadline) {
			break // its lock goes with its last process
		}
	}
	same(t, "going on", got, "kept\nkept\nmarker\n")
	s.must(t, "image", "commit", "work", "made")
	s.must(t, "discard", "work")
	same(t, "an image of it", s.on(t, "made", "ls /srv"), "kept\nmarker\n")
}

// kept is the root that an overlay keeps, below the home.
func kept(overlay string) string { return filepath.Join(".local/share/sbx/overlays", overlay, "root") }

// TestHostileRoot: what a run leaves in the root that is kept leads the next one
// nowhere: while it is being built, an absolute link is the host's.
func TestHostileRoot(t *testing.T) {
	s := newSite(t)
	s.must(t, "image", "import", "--name", "base", s.tree(t))
	victim := filepath.Join(s.Home, "aim")
	s.Write(t, filepath.Join(victim, "f"), "of the host\n")
	for _, place := range []string{"/tmp", "/sys", "/home", "/etc/hosts", "/etc"} {
		t.Run(place, func(t *testing.T) {
			without := []string{"--overlay=work", "--home=none", "--set", "root.tmp=0", "--set", "workspace.access=none"}
			left := "busybox rm -rf " + place + " 2>/dev/null; busybox ln -s " + victim + " " + place
			if strings.HasPrefix(place, "/etc") { // which holds what sbx mounts: from the host's side
				same(t, "a layer", s.on(t, "base", "true", without...), "")
				s.outside(t, "sh", "-c", "cd "+kept("work")+"; rm -rf ."+place+"; mkdir -p ./etc; rmdir ."+place+" 2>/dev/null; ln -s "+victim+" ."+place)
			} else {
				same(t, "leaving a link", s.on(t, "base", left, without...), "")
			}
			script := "cat " + victim + "/f; echo bad >" + place + "/f; echo bad >" + place + "; true"
			flags := []string{"--set", "root.sys=ro", "--home=persistent"}
			if control := s.on(t, "base", script, flags...); control.Code != 0 {
				t.Errorf("without the link: status %d, %s", control.Code, control.Err)
			}
			got := s.on(t, "base", script, append(flags, "--overlay=work")...)
			if got.Code == 0 || strings.Contains(got.Out, "of the host") {
				t.Errorf("status %d: %q %s", got.Code, got.Out, got.Err)
			}
			if entries, err := os.ReadDir(victim); err != nil || len(entries) != 1 {
				t.Errorf("the host's directory: %v, %v", entries, err)
			}
			if text, err := os.ReadFile(victim + "/f"); err != nil || string(text) != "of the host\n" {
				t.Errorf("the host's file: %q, %v", text, err)
			}
			s.must(t, "discard", "work")
		})
	}
}
