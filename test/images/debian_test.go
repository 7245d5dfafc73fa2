package images

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

const dpkgDir = "/var/lib/dpkg"

// stanza is a package of the host's, as its database has it.
type stanza struct {
	text  string
	field map[string]string
}

// installed are the packages of the host's that are installed, by name.
func installed(t *testing.T) map[string]stanza {
	t.Helper()
	text, err := os.ReadFile(dpkgDir + "/status")
	if errors.Is(err, fs.ErrNotExist) {
		sbxtest.Require(t, sbxtest.Missing("dpkg", "the host has no packages of Debian's to make a root of"))
	}
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]stanza{}
	for part := range strings.SplitSeq(string(text), "\n\n") {
		p := stanza{text: strings.TrimSpace(part), field: map[string]string{}}
		for line := range strings.Lines(p.text) {
			if name, value, ok := strings.Cut(line, ": "); ok && !strings.HasPrefix(line, " ") {
				p.field[name] = strings.TrimSpace(value)
			}
		}
		if p.field["Status"] == "install ok installed" {
			all[p.field["Package"]] = p
		}
	}
	return all
}

var dependency = regexp.MustCompile(`[a-z0-9][a-z0-9+.-]+`)

// closure are the packages that a minimal Debian with apt consists of: what is
// essential, apt, and what these depend on.
func closure(all map[string]stanza) []string {
	need := map[string]bool{}
	provides := map[string][]string{}
	var todo []string
	for name, p := range all {
		if p.field["Essential"] == "yes" || name == "apt" {
			todo = append(todo, name)
		}
		for part := range strings.SplitSeq(p.field["Provides"], ",") {
			if virtual := dependency.FindString(part); virtual != "" {
				provides[virtual] = append(provides[virtual], name)
			}
		}
	}
	for ; len(todo) > 0; todo = todo[1:] {
		name := todo[0]
		if _, there := all[name]; !there || need[name] {
			continue
		}
		need[name] = true
		for part := range strings.SplitSeq(all[name].field["Pre-Depends"]+","+all[name].field["Depends"], ",") {
			for choice := range strings.SplitSeq(part, "|") {
				d := dependency.FindString(choice)
				todo = append(append(todo, d), provides[d]...)
			}
		}
	}
	return slices.Sorted(maps.Keys(need))
}

// rootWriter writes a root file system as an archive, each path once, and what
// lies in a directory that is a link where the link leads.
type rootWriter struct {
	*tar.Writer
	t    *testing.T
	seen map[string]bool
}

// made writes an entry that the host does not have so.
func (w *rootWriter) made(h tar.Header, text string) {
	w.t.Helper()
	if name := strings.Trim(h.Name, "/"); w.seen[name] {
		return
	} else {
		w.seen[name] = true
	}
	h.Name, h.Size = "./"+strings.TrimPrefix(h.Name, "/"), int64(len(text))
	if err := w.WriteHeader(&h); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		w.t.Fatal(err)
	}
}

// host writes a path as the host has it; what may not be read is left out.
func (w *rootWriter) host(path string) {
	w.t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return // excluded when it was installed, as documentation is in containers
	}
	path = filepath.Join(dir, filepath.Base(path))
	st, err := os.Lstat(path)
	if err != nil || path == "/" || w.seen[path[1:]] {
		return
	}
	if dir != "/" {
		w.host(dir)
	}
	to := ""
	if st.Mode()&fs.ModeSymlink != 0 {
		if to, err = os.Readlink(path); err != nil {
			w.t.Fatal(err)
		}
	}
	h, err := tar.FileInfoHeader(st, to)
	if err != nil {
		return // a socket, say
	}
	sys := st.Sys().(*syscall.Stat_t)
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = path, int(sys.Uid), int(sys.Gid), "", ""
	text := ""
	if st.Mode().IsRegular() {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrPermission) {
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		text = string(b)
	}
	w.made(*h, text)
}

// below writes a directory of the host's with all in it.
func (w *rootWriter) below(dir string) {
	w.t.Helper()
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			w.host(path)
		}
		return nil
	})
}

// bootstrapped is a root file system of Debian's that mmdebstrap or debootstrap made:
// SBX_DEBIAN_TAR, or the one that test/setup.sh keeps.
func bootstrapped(t *testing.T) string {
	t.Helper()
	path := os.Getenv("SBX_DEBIAN_TAR")
	if path == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(cache, "sbx-test/debian.tar")
	}
	if _, err := os.Stat(path); err != nil {
		sbxtest.Require(t, sbxtest.Missing("a root of mmdebstrap", fmt.Sprintf("%v; mmdebstrap --variant=apt bookworm %s makes one", err, path)))
	}
	return path
}

// debianTar is a root file system of Debian's with apt, made without a mirror of the
// packages of the host's that such a root consists of: their files with owners and
// modes, their part of dpkg's database, the devices that an archive of mmdebstrap's
// has.
func (s *site) debianTar(t *testing.T) string {
	t.Helper()
	all := installed(t)
	path := filepath.Join(s.Home, "debian.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &rootWriter{tar.NewWriter(f), t, map[string]bool{}}
	var status strings.Builder
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives"} {
		if world, err := os.Lstat(dir); err == nil && world.Mode()&fs.ModeSymlink != 0 {
			w.host(dir)
		} else if err == nil {
			w.below(dir)
		}
	}
	for _, name := range closure(all) {
		fmt.Fprintln(&status, all[name].text+"\n")
		info, err := filepath.Glob(dpkgDir + "/info/" + name + "[.:]*")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range info {
			if base := filepath.Base(file); strings.HasPrefix(base, name+":") || !strings.Contains(strings.TrimPrefix(base, name+"."), ".") {
				w.host(file)
			}
			if filepath.Ext(file) != ".list" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				w.host(strings.TrimSuffix(line, "\n"))
			}
		}
	}
	for _, file := range []string{"/etc/passwd", "/etc/group", "/etc/ld.so.cache", "/etc/debian_version", dpkgDir + "/info/format", dpkgDir + "/alternatives"} {
		w.below(file)
	}
	text := func(name, text string, mode int64) {
		w.made(tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}, text)
	}
	text(dpkgDir+"/status", status.String(), 0o644)
	for _, name := range []string{"diversions", "statoverride", "available"} {
		text(dpkgDir+"/"+name, "", 0o644)
	}
	text("etc/shadow", "root:*:19000:0:99999:7:::\n", 0o640)
	text("etc/gshadow", "root:*::\n", 0o640)
	text("etc/apt/sources.list", "", 0o644)
	for _, dir := range []string{dpkgDir + "/updates", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt", "dev", "proc", "sys", "run", "tmp"} {
		w.made(tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	}
	w.made(tar.Header{Name: "dev/console", Typeflag: tar.TypeChar, Mode: 0o600, Devmajor: 5, Devminor: 1}, "")
	w.made(tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}, "")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// repository makes packages and an index of them, as apt takes it from a
// directory: an application, and the library that it depends on.
func (s *site) repository(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(s.Work, "repo")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var index strings.Builder
	for _, p := range []struct{ name, depends, postinst, postrm string }{
		{"sbx-app", "sbx-lib (>= 1)", "", ""},
		{"sbx-lib", "", "#!/bin/sh\nset -e\nuseradd --system --no-create-home --uid 777 sbx-lib\nchown sbx-lib:mail /usr/share/sbx-lib/file\nchmod 2750 /usr/share/sbx-lib\n", "#!/bin/sh\nset -e\ntest \"$1\" != purge || userdel sbx-lib\n"},
	} {
		control := "Package: " + p.name + "\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.com>\nDescription: test\n"
		if p.depends != "" {
			control += "Depends: " + p.depends + "\n"
		}
		tree := filepath.Join(s.Home, p.name)
		s.Write(t, tree+"/DEBIAN/control", control)
		s.Write(t, tree+"/usr/share/"+p.name+"/file", "from "+p.name+"\n")
		for script, text := range map[string]string{"postinst": p.postinst, "postrm": p.postrm} {
			if text != "" {
				s.Write(t, tree+"/DEBIAN/"+script, text)
				if err := os.Chmod(tree+"/DEBIAN/"+script, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		deb := p.name + "_1_all.deb"
		s.outside(t, "dpkg-deb", "--root-owner-group", "-b", tree, filepath.Join(dir, deb))
		text, err := os.ReadFile(filepath.Join(dir, deb))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&index, "%sFilename: ./%s\nSize: %d\nSHA256: %x\n\n", control, deb, len(text), sha256.Sum256(text))
	}
	s.Write(t, dir+"/Packages", index.String())
	return dir
}

// fakeRoot are the flags for root with subordinate ids, as package managers want it.
var fakeRoot = []string{"--userns", "range", "-u", "root", "-e", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "-e", "DEBIAN_FRONTEND=noninteractive", "-e", "LC_ALL=C.UTF-8"}

// TestDebian installs packages with apt-get in a Debian, as fake root with
// subordinate ids: in one that mmdebstrap made, and in one made of the host's
// packages.
func TestDebian(t *testing.T) {
	for name, root := range map[string]func(*site, *testing.T) string{
		"mmdebstrap":          func(_ *site, t *testing.T) string { return bootstrapped(t) },
		"the host's packages": (*site).debianTar,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "dpkg-deb")
			requireRange(t)
			base := root(s, t)
			got := s.sbx(t, "image", "import", "--name", "debian", base)
			if got.Code != 0 || !strings.Contains(got.Err, "device nodes are left out") {
				t.Fatalf("status %d, %s", got.Code, got.Err)
			}
			if r := s.inspect(t, "debian"); r.IDs.Mode != "range" || !r.Owners {
				t.Errorf("%+v", r)
			}
			s.aptGet(t)
			if name == "mmdebstrap" {
				t.Run("mirror", s.mirror)
			}
		})
	}
}

// aptGet installs and purges without a network: from a repository in the project, with
// a dependency, whose script makes a user and gives it files.
func (s *site) aptGet(t *testing.T) {
	t.Helper()
	repo := s.repository(t)
	if err := os.Chmod(s.Work, 0o755); err != nil { // apt reads it as a user of its own
		t.Fatal(err)
	}
	// Neither is there before, which is the control.
	script := `dpkg-query -W sbx-app 2>/dev/null && exit 9
rm -f /etc/apt/sources.list.d/*; echo "deb [trusted=yes] file:` + repo + ` ./" >/etc/apt/sources.list
{ apt-get update && apt-get install -y sbx-app; } >log 2>&1 || { cat log; exit 8; }
cat /usr/share/sbx-app/file /usr/share/sbx-lib/file
stat -c '%n %U:%G %a' /usr/share/sbx-lib /usr/share/sbx-lib/file /etc/shadow
dpkg-query -W sbx-app sbx-lib
apt-get purge -y --autoremove sbx-app sbx-lib >log 2>&1 || { cat log; exit 7; }
test -e /usr/share/sbx-lib || id sbx-lib 2>&1
dpkg --audit; dpkg --configure -a && echo configured
`
	want := "from sbx-app\nfrom sbx-lib\n/usr/share/sbx-lib root:root 2750\n/usr/share/sbx-lib/file sbx-lib:mail 644\n/etc/shadow root:GROUP 640\n" +
		"sbx-app\t1\nsbx-lib\t1\nid: ‘sbx-lib’: no such user\nconfigured\n"
	got := s.on(t, "debian", script, fakeRoot...)
	for _, group := range []string{"root", "shadow"} { // as whoever made the archive has it
		got.Out = strings.ReplaceAll(got.Out, "/etc/shadow root:"+group+" ", "/etc/shadow root:GROUP ")
	}
	same(t, "apt-get install", got, want)
	// The image itself is as it was.
	same(t, "a later run", s.on(t, "debian", "dpkg-query -W sbx-app 2>/dev/null; cat /etc/debian_version >/dev/null && echo there", "--userns", "range", "-u", "root"), "there\n")
}

// mirror installs a package of Debian's own from its mirror, by the sandbox's network,
// which lets nothing else through, and makes an image of it.
func (s *site) mirror(t *testing.T) {
	host := regexp.MustCompile(`(?m)^(?:deb |URIs: )(?:\[.*\] )?https?://([^/\s]+)`)
	var allow []string
	for _, m := range host.FindAllStringSubmatch(s.on(t, "debian", "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null; true").Out, -1) {
		if flag := "--allow=" + m[1]; !slices.Contains(allow, flag) {
			allow = append(allow, flag)
		}
	}
	online := append(append([]string{"--network=user", "--timeout=120s"}, allow...), fakeRoot...)
	if got := s.on(t, "debian", "apt-get -o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o APT::Update::Error-Mode=any update", online...); len(allow) == 0 || got.Code != 0 {
		sbxtest.Require(t, sbxtest.Missing("a mirror", "apt-get update: "+got.Out+got.Err))
	}
	// The control: it is not there before, and nothing is reached that is not allowed.
	if got := s.on(t, "debian", "hello || apt-get update -o Acquire::Retries=0 -o APT::Update::Error-Mode=any", append([]string{"--network=user"}, fakeRoot...)...); got.Code == 0 {
		t.Errorf("without --allow: %s", got.Out)
	}
	got := s.on(t, "debian", "{ apt-get update && apt-get install -y hello; } >/tmp/log 2>&1 || { cat /tmp/log; exit 8; }; hello; dpkg --audit", append(online, "--overlay=online")...)
	same(t, "apt-get install hello", got, "Hello, world!\n")
	s.must(t, "image", "commit", "--entrypoint", "hello", "online", "hello:1")
	same(t, "an image of it", s.sbx(t, "run", "--image", "hello:1"), "Hello, world!\n")
	s.must(t, "discard", "online")
}
