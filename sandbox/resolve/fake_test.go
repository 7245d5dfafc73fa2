package resolve

import (
	"errors"
	"os"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/userns"
)

// fakeFiles is a tree in memory. A path that deciding has no business with,
// one that is not absolute and clean, panics.
type fakeFiles struct {
	nodes map[string]host.Entry
	links map[string]string
	texts map[string]string
	calls int

	layering map[string]host.Layering
	drivers  host.Drivers
}

// tree makes a fakeFiles from lines such as
//
//	/usr/bin/          a directory, as are all above it
//	/bin -> usr/bin    a link
//	/etc/passwd        a file
//	/x = "a\n"         a file with what is in it, as Go quotes it
//	/dev/null c        a device; b, s and p for block device, socket, FIFO
//	/x @1000 *2 o+w    owner, number of names, writable by everybody; sticky
//	/x/ shut           a directory that can't be searched; unlisted: not listed
//
// A later line replaces an earlier one, and "-/path" removes it.
func tree(list ...string) *fakeFiles {
	f := &fakeFiles{nodes: map[string]host.Entry{}, links: map[string]string{}, texts: map[string]string{}}
	for _, text := range list {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				f.put(line)
			}
		}
	}
	return f
}

var types = map[string]uint32{"c": unix.S_IFCHR, "b": unix.S_IFBLK, "s": unix.S_IFSOCK, "p": unix.S_IFIFO}

func (f *fakeFiles) put(line string) {
	if name, ok := strings.CutPrefix(line, "-"); ok {
		delete(f.nodes, name)
		return
	}
	line, text, filled := strings.Cut(line, " = ")
	name, to, link := strings.Cut(line, " -> ")
	words := strings.Fields(name)
	e := host.Entry{Path: path.Clean(words[0]), Mode: unix.S_IFREG | 0o644, Links: 1}
	if e.IsDir = strings.HasSuffix(words[0], "/"); e.IsDir {
		e.Mode = unix.S_IFDIR | 0o755
	}
	for _, w := range words[1:] {
		switch {
		case w[0] == '@':
			n, _ := strconv.Atoi(w[1:])
			e.UID = uint32(n)
		case w[0] == '*':
			e.Links, _ = strconv.ParseUint(w[1:], 10, 64)
		case w == "o+w":
			e.Mode |= 0o002
		case w == "shut":
			e.Mode &^= 0o111
		case w == "unlisted":
			e.Mode &^= 0o444
		case w == "sticky":
			e.Mode |= unix.S_ISVTX
		default:
			e.Mode = types[w] | 0o600
		}
	}
	if link {
		e.Mode, f.links[e.Path] = unix.S_IFLNK|0o777, strings.TrimSpace(to)
	}
	if filled {
		unquoted, err := strconv.Unquote(text)
		if err != nil {
			panic(text)
		}
		f.texts[e.Path] = unquoted
	}
	f.nodes[e.Path] = e
	for d := path.Dir(e.Path); f.nodes[d].Path == ""; d = path.Dir(d) {
		f.nodes[d] = host.Entry{Path: d, IsDir: true, Mode: unix.S_IFDIR | 0o755}
	}
}

func (f *fakeFiles) use(p string) {
	f.calls++
	if !path.IsAbs(p) || path.Clean(p) != p {
		panic("asked for the path " + strconv.Quote(p))
	}
}

var errLeads = errors.New("leads out by a link")

// walk finds p through links, the last one only if follow is set.
func (f *fakeFiles) walk(p, beneath string, follow bool) (host.Entry, error) {
	at, rest := "/", strings.Split(strings.Trim(p, "/"), "/")
	for hops := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" {
			continue
		}
		if !f.nodes[at].IsDir {
			return host.Entry{}, unix.ENOTDIR
		}
		if f.nodes[at].Mode&0o111 == 0 {
			return host.Entry{}, unix.EACCES
		}
		next := path.Join(at, name)
		if len(name) > 255 {
			return host.Entry{}, unix.ENAMETOOLONG
		}
		e, ok := f.nodes[next]
		if !ok {
			return host.Entry{}, unix.ENOENT
		}
		if e.Type() == unix.S_IFLNK && (follow || len(rest) > 0) {
			if hops++; hops > 40 {
				return host.Entry{}, unix.ELOOP
			}
			to := f.links[next]
			if beneath != "" && within(next, beneath) && (path.IsAbs(to) || !within(path.Join(at, to), beneath)) {
				return host.Entry{}, errLeads
			}
			if path.IsAbs(to) {
				at = "/"
			}
			rest = append(strings.Split(strings.Trim(to, "/"), "/"), rest...)
			continue
		}
		at = next
	}
	return f.nodes[at], nil
}

func (f *fakeFiles) Resolve(p, beneath string) (host.Entry, error) {
	f.use(p)
	e, err := f.walk(p, beneath, true)
	if err != nil {
		return host.Entry{}, &os.PathError{Op: "open", Path: p, Err: err}
	}
	return e, nil
}

func (f *fakeFiles) Lstat(p string) (host.Entry, error) {
	f.use(p)
	e, err := f.walk(p, "", false)
	if err != nil {
		return host.Entry{}, &os.PathError{Op: "lstat", Path: p, Err: err}
	}
	e.Path = p
	return e, nil
}

func (f *fakeFiles) Link(p string) (string, error) {
	f.use(p)
	if to, ok := f.links[p]; ok {
		return to, nil
	}
	return "", &os.PathError{Op: "readlink", Path: p, Err: unix.EINVAL}
}

func (f *fakeFiles) Text(p string, limit int) (string, error) {
	f.use(p)
	e, err := f.walk(p, "", true)
	switch {
	case err != nil:
		return "", &os.PathError{Op: "open", Path: p, Err: err}
	case e.Path != p:
		return "", &os.PathError{Op: "open", Path: p, Err: unix.ELOOP}
	case e.Type() != unix.S_IFREG || len(f.texts[p]) > limit:
		return "", errors.New("not a small file")
	}
	return f.texts[p], nil
}

func (f *fakeFiles) Disk(p string) (string, error) {
	f.use(p)
	if _, err := f.walk(p, "", true); err != nil {
		return "", err
	}
	return "8:0", nil
}

func (f *fakeFiles) Names(dir string) ([]string, error) {
	f.use(dir)
	if e := f.nodes[dir]; e.IsDir && e.Mode&0o444 == 0 {
		return nil, &os.PathError{Op: "open", Path: dir, Err: unix.EACCES}
	}
	var names []string
	for p := range f.nodes {
		if p != "/" && path.Dir(p) == dir {
			names = append(names, path.Base(p))
		}
	}
	slices.Sort(names)
	return names, nil
}

// usual is a host with a merged /usr.
const usual = `
	/bin -> usr/bin
	/sbin -> usr/sbin
	/lib -> usr/lib
	/lib64 -> usr/lib64
	/usr/bin/true
	/usr/bin/sbx
	/usr/sbin/
	/usr/lib/
	/usr/lib64/
	/usr/local/bin/
	/usr/share/zoneinfo/UTC
	/etc/passwd
	/etc/group
	/etc/hosts
	/etc/ssl/certs/
	/etc/localtime -> /usr/share/zoneinfo/UTC
	/etc/os-release -> ../usr/lib/os-release
	/etc/nsswitch.conf
	/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf
	/etc/shadow
	/run/systemd/resolve/stub-resolv.conf
	/run/user/1000/ @1000
	/usr/lib/os-release
	/dev/null c
	/dev/sda b
	/proc/1/
	/sys/
	/tmp/ o+w
	/home/dev/ @1000
	/home/dev/.ssh/id_rsa @1000
	/home/dev/.gitconfig @1000
	/home/dev/proj/sub/ @1000
	/home/dev/proj/x.toml @1000
`

// facts is an ordinary user in a project on the usual host.
func facts(files *fakeFiles) host.Facts {
	f := host.Facts{
		UID: 1000, GID: 1000, User: "dev", Known: true, Home: "/home/dev", Groups: []uint32{1000},
		Cwd: "/home/dev/proj", Host: "desk", Files: files, Exe: "/usr/bin/sbx",
		Environ: []string{"PATH=/usr/bin:/bin", "HOME=/home/dev", "TERM=xterm"},
		SubUIDs: userns.Range{Start: 100000, Count: 65536}, SubGIDs: userns.Range{Start: 200000, Count: 65536},
		NewUIDMap: "/usr/bin/newuidmap", NewGIDMap: "/usr/bin/newgidmap",
		Landlock: 7, LowPorts: 1024,
		Net: host.Network{Engine: "/usr/libexec/sbx/sbx-net", Pasta: "/usr/bin/pasta", Slirp4netns: "/usr/bin/slirp4netns"},
		Cgroup: host.Cgroup{
			Systemd: host.Maker{Err: errors.New("there is no systemd of yours")},
			Subtree: host.Maker{Err: errors.New("the group is not delegated")},
		},
	}
	for i := range f.Hard {
		f.Hard[i] = unix.RLIM_INFINITY
	}
	return f
}

var profileEnv = profiles.Env{Home: "/home/dev", User: "dev", UID: 1000, GID: 1000, Cwd: "/home/dev/proj", SystemDir: "/nonexistent"}

// input is a plan's input from a profile's text, which need not say its
// version. Without extends it has the schema's defaults.
func input(t testing.TB, text string, files ...string) Input {
	t.Helper()
	if !strings.HasPrefix(text, "extends") {
		text = "extends = []\n" + text
	}
	prof, err := profiles.Parse("/home/dev/proj/x.toml", []byte("version = 1\n"+text), profileEnv)
	if err != nil {
		t.Fatal(err)
	}
	prof.Files = []string{"builtin:build"} // the project's own is a matter of guards
	return Input{Profile: prof, Facts: facts(tree(append([]string{usual}, files...)...)), Argv: []string{"true"}, HomesDir: "/homes", NetDir: "/state/net", VolumesDir: "/volumes", Overlays: "/overlays", OverlayName: "x-abcd"}
}

// planned is the plan of in, which must have one that is valid.
func planned(t testing.TB, in Input) *sandbox.Plan {
	t.Helper()
	p, err := Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Errorf("the plan is not valid: %v", err)
	}
	return p
}

// at is the mount on target, the zero Mount if there is none.
func at(p *sandbox.Plan, target string) sandbox.Mount {
	for _, m := range p.Mounts {
		if m.Target == target {
			return m
		}
	}
	return sandbox.Mount{}
}

func targets(p *sandbox.Plan) (list []string) {
	for _, m := range p.Mounts {
		list = append(list, m.Target)
	}
	return list
}

// faults are the errors of a plan that can't be had, as "key: text".
func faults(t testing.TB, in Input) (list []string) {
	t.Helper()
	p, err := Plan(in)
	if err == nil {
		if err := p.Validate(); err != nil {
			t.Errorf("the plan is not valid: %v", err)
		}
		return nil
	}
	all, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not a list", err)
	}
	for _, err := range all.Unwrap() {
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%T is no *Error: %v", err, err)
			continue
		}
		list = append(list, e.Key+": "+e.Error())
	}
	return list
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n%+v, want\n%+v", what, got, want)
	}
}

// notes are a plan's notes of a level, but for those on the workspace's
// repository, see TestGit: the usual host has none.
func notes(p *sandbox.Plan, level string) (list []string) {
	for _, n := range p.Notes {
		if n.Level == level && n.From != "workspace.git" {
			list = append(list, n.From+": "+n.Text)
		}
	}
	return list
}

// Layering implements host.Files: all is one ext4 unless a test
// says otherwise.
func (f *fakeFiles) Layering(dir string) (host.Layering, error) {
	f.use(dir)
	if l, ok := f.layering[dir]; ok {
		return l, nil
	}
	return host.Layering{Type: "ext4"}, nil
}

// Drivers implements host.Files.
func (f *fakeFiles) Drivers() host.Drivers { return f.drivers }
