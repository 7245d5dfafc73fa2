package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrees: a file tree in every form is the same image, and is run on.
func TestTrees(t *testing.T) {
	s := newSite(t, "tar", "gzip", "xz", "zstd", "bzip2")
	root := s.tree(t)
	plain := filepath.Join(s.Home, "base.tar")
	s.outside(t, "tar", "-C", root, "--owner=0", "--group=0", "--sort=name", "-cf", plain, ".")
	forms := []string{plain}
	for _, z := range [][]string{{"gzip", ".gz"}, {"xz", ".xz"}, {"zstd", ".zst"}, {"bzip2", ".bz2"}} {
		s.outside(t, "sh", "-c", z[0]+" -qc "+plain+" >"+plain+z[1])
		forms = append(forms, plain+z[1])
	}
	ids := map[string]bool{}
	for _, f := range forms {
		s.must(t, "image", "import", f)
		same(t, f, s.on(t, "base", "cat /srv/marker; echo x >/srv/marker; cat /srv/marker"), "first\nx\n")
		ids[s.inspect(t, "base").ID] = true
	}
	if len(ids) != 1 {
		t.Errorf("one tree is %d images", len(ids))
	}
	s.must(t, "image", "import", "--name", "from/dir:1", root)
	same(t, "a directory", s.on(t, "from/dir:1", "cat /srv/marker; readlink /bin/sh"), "first\nbusybox\n")
	if _, err := os.Stat(filepath.Join(s.Work, "marker")); err == nil {
		t.Error("something was written outside")
	}
	same(t, "nothing of an earlier run is there", s.on(t, "base", "cat /srv/marker"), "first\n")
	same(t, "read-only", s.on(t, "base", "echo x >/srv/y || echo refused", "--read-only"), "refused\n")
	same(t, "the project is there", s.on(t, "base", "echo made >here; pwd"), s.Work+"\n")
	if text, err := os.ReadFile(filepath.Join(s.Work, "here")); err != nil || string(text) != "made\n" {
		t.Errorf("the project's file: %q, %v", text, err)
	}
}

// TestLayouts: what skopeo and umoci make is taken in with its layers, whiteouts
// and configuration, from each form.
func TestLayouts(t *testing.T) {
	s := newSite(t, "umoci", "skopeo", "tar")
	at := s.layout(t)
	sources := map[string]string{"layout": at}
	for name, to := range map[string]string{"oci.tar": "oci-archive:" + s.Home + "/oci.tar:v1", "docker.tar": "docker-archive:" + s.Home + "/docker.tar:example.com/made:v1"} {
		s.outside(t, "skopeo", "copy", "-q", "oci:"+at+":v1", to)
		sources[name] = filepath.Join(s.Home, name)
	}
	s.outside(t, "sh", "-c", "gzip -c "+s.Home+"/docker.tar >"+s.Home+"/docker.tar.gz; gzip -c "+s.Home+"/oci.tar >"+s.Home+"/oci.tar.gz")
	sources["docker.tar.gz"], sources["oci.tar.gz"] = s.Home+"/docker.tar.gz", s.Home+"/oci.tar.gz"
	ids := map[string][]string{}
	for name, path := range sources {
		s.must(t, "image", "import", "--name", "got:"+name, path)
		r := s.inspect(t, "got:"+name)
		ids[r.ID] = append(ids[r.ID], name)
		if len(r.Layers) != 2 {
			t.Errorf("%s: %d layers", name, len(r.Layers))
		}
		same(t, name, s.on(t, "got:"+name, "cat /srv/marker /var/empty/new; ls /srv; echo $COLOUR $PATH"), "second\nnew\nmarker\nblue /bin\n")
		same(t, name+"'s own command", s.sbx(t, "run", "--image", "got:"+name), "second\n")
	}
	if len(ids) != 1 {
		t.Errorf("one image came in as %v", ids)
	}
	s.must(t, "image", "import", sources["docker.tar"]) // by its own name
	s.inspect(t, "example.com/made:v1")
	s.inspect(t, "made:v1")
	if out := s.must(t, "image", "ls"); !strings.Contains(out, "example.com/made:v1") || !strings.Contains(out, "got:layout") {
		t.Errorf("image ls:\n%s", out)
	}
	var x struct {
		Schema int
		Images []record
	}
	if err := json.Unmarshal([]byte(s.must(t, "image", "ls", "--format=json")), &x); err != nil || len(x.Images) != 1 || len(x.Images[0].Names) != 6 {
		t.Errorf("image ls --format=json: %v, %+v", err, x)
	}
}

// TestConfig: what an image says of how it is run holds, unless somebody else
// says otherwise.
func TestConfig(t *testing.T) {
	s := newSite(t, "umoci", "tar")
	at := s.layout(t)
	s.outside(t, "umoci", "config", "--image", at+":v1", "--config.entrypoint", "echo", "--config.entrypoint", "entry", "--config.user", "app")
	s.must(t, "image", "import", "--name", "conf", at)
	same(t, "entry point and command", s.sbx(t, "run", "--image", "conf"), "entry cat marker\n")
	same(t, "the user, alone", s.on(t, "conf", "id -u; id -g"), "1234\n2345\n")
	same(t, "the caller", s.on(t, "conf", "id -un; id -u", "-u", "keep"), s.outside(t, "sh", "-c", "id -un; id -u"))
	same(t, "root", s.on(t, "conf", "id -u; id -un", "-u", "root"), "0\nroot\n")
	same(t, "-e", s.on(t, "conf", "echo $COLOUR", "-e", "COLOUR=red"), "red\n")
	same(t, "the project's directory", s.on(t, "conf", "pwd"), s.Work+"\n")
	same(t, "the image's, when there is no project", s.on(t, "conf", "pwd", "--set", "workspace.access=none"), "/srv\n")
	p := s.Profile(t, "[root]\nsource = \"image:conf\"\n[process]\ncommand = [\"echo\", \"profile\"]\nworking_dir = \"/etc\"\n[environment]\nset = { COLOUR = \"green\" }\n")
	same(t, "the profile's command", s.Run(t, s.Sbx, "run", p), "profile\n")
	same(t, "the profile's variables", s.Run(t, s.Sandboxed(p, "sh", "-c", "echo $COLOUR; pwd")...), "green\n/etc\n")
	text := s.must(t, "explain", "--image", "conf")
	for _, want := range []string{`the command runs as "app", as the image has it: 1234:2345`, "the image sets COLOUR, PATH", "the command is the image's own", "overlayfs, 2 layers of conf"} {
		if !strings.Contains(text, want) {
			t.Errorf("explain does not say %q:\n%s", want, text)
		}
	}
	s.refused(t, []string{"p.toml:5", `no such image`, "sbx image ls"}, "run", s.Profile(t, "[root]\n\n\nsource = \"image:none\"\n"), "--", "true")
	s.refused(t, []string{`"none"`}, "image", "rm", "none")
	s.refused(t, []string{"did you mean image:conf:latest?"}, "run", "--image", "cont", "--", "true")
}

// TestRange: with subordinate ids files belong to whom the image says.
func TestRange(t *testing.T) {
	s := newSite(t, "umoci", "tar")
	requireRange(t)
	at := s.layout(t)
	own := s.archive(t, "own.tar", dir("srv"), owned("srv/app", 1234, 2345, 0o600), owned("srv/other", 77, 88, 0o600))
	s.outside(t, "umoci", "raw", "add-layer", "--image", at+":v1", own)
	s.outside(t, "umoci", "config", "--image", at+":v1", "--config.user", "app:makers", "--clear", "config.cmd")
	s.must(t, "image", "import", "--name", "own", at)
	if r := s.inspect(t, "own"); r.IDs.Mode != "range" || !r.Owners {
		t.Errorf("%+v", r)
	}
	const look = "stat -c '%n %u:%g' /srv/*; id -u; id -g; "
	const theirs = "/srv/app 1234:2345\n/srv/marker 0:0\n/srv/other 77:88\n"
	same(t, "the image's user", s.on(t, "own", look+"cat /srv/app; cat /srv/other || echo refused; cat /proc/self/status | { while read a b; do case $a in CapEff:|CapBnd:|Groups:) echo $a $b; esac; done; }", "--userns", "range"),
		theirs+"1234\n3456\ntext of srv/app\nrefused\nGroups: 3456\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\n")
	same(t, "root", s.on(t, "own", look+"cat /srv/app /srv/other", "--userns", "range", "-u", "root"), theirs+"0\n0\ntext of srv/app\ntext of srv/other\n")
	got := s.on(t, "own", "id -un; touch /srv/new here; stat -c %U here /srv/new", "--userns", "range", "-u", "keep")
	name := strings.TrimSpace(s.outside(t, "id", "-un"))
	same(t, "the caller", got, strings.Repeat(name+"\n", 3))
	if st, err := os.Stat(filepath.Join(s.Work, "here")); err != nil || !isMine(st) {
		t.Errorf("the project's file is not the caller's: %v", err)
	}
	text := s.must(t, "explain", "--image", "own", "-u", "root", "--", "true")
	if !strings.Contains(text, `user.map = "range" has them`) {
		t.Errorf("with one id explain does not name what is lost:\n%s", text)
	}
}

// TestRemove: an image in use stays, and what is removed is gone.
func TestRemove(t *testing.T) {
	s := newSite(t)
	s.must(t, "image", "import", "--name", "base:1", s.tree(t))
	s.must(t, "image", "tag", "base:1", "base:2")
	s.must(t, "image", "rm", "base:1")
	id := s.inspect(t, "base:2").ID
	s.must(t, "image", "tag", id[:12], "third")
	s.refused(t, []string{"base:2, third:latest", "--force"}, "image", "rm", id[:12])
	s.must(t, "image", "rm", "third")

	run := s.Command(s.Sbx, "run", "--image", "base:2", "--", "sh", "-c", "echo ready; cat")
	in, err := run.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
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
	s.refused(t, []string{"in use"}, "image", "rm", "base:2")
	if got := s.sbx(t, "image", "prune", "--all"); got.Code != 0 || !strings.Contains(got.Err, "in use") {
		t.Errorf("prune: %d, %s", got.Code, got.Err)
	}
	in.Close()
	if err := run.Wait(); err != nil {
		t.Error(err)
	}
	s.must(t, "image", "rm", "base:2")
	s.refused(t, []string{"no such image"}, "run", "--image", "base:2", "--", "true")
	if left := s.layers(t); len(left) > 0 {
		t.Errorf("layers are left: %v", left)
	}
}
