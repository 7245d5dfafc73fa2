// Package rig is the ground the benchmarks stand on: the account and environment the
// candidates run with, their files, and which of them can run here.
package rig

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/bench/internal/proc"
)

// Flags are the flags that all benchmark programs have.
type Flags struct {
	User       string
	Bin        string
	Work       string
	SBX        string
	Candidates string
	Only       string
}

// Register adds the flags to set.
func (f *Flags) Register(set *flag.FlagSet) {
	set.StringVar(&f.User, "user", "", "when run as root: the unprivileged `account` that runs the candidates (default: the one that called sudo)")
	set.StringVar(&f.Bin, "bin", "bin/bench", "`directory` of the tools that make bench-tools builds")
	set.StringVar(&f.Work, "work", "", "`directory` for work files, not below /tmp (default: that of -bin if it is writable, else the account's home)")
	set.StringVar(&f.SBX, "sbx", "bin/sbx", "the sbx to measure")
	set.StringVar(&f.Candidates, "candidates", "", "JSON `file` with the candidates to measure instead of the built-in list")
	set.StringVar(&f.Only, "only", "", "comma separated `names` of the candidates to measure")
}

// A Rig is ready to start candidates.
type Rig struct {
	*proc.Starter
	Candidates []Candidate
	Root       bool // the rig itself runs as root: it can read any process
	PureCgroup bool // candidates see a cgroup v2 mount that the host does not have there

	names map[string]string
	path  string
	temp  []string
	work  string
	count int
}

const (
	searchPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
	inPrivate  = "SBX_BENCH_PRIVATE_MOUNTS" // set for the copy that has its own mount namespace
)

// Open prepares a rig. The caller closes it.
//
// As root on a host whose /sys/fs/cgroup is not cgroup v2, the program first restarts
// itself in a mount namespace with cgroup v2 there, as crun and podman refuse to run
// rootless without it. All candidates see the same.
func Open(f Flags) (*Rig, error) {
	r := &Rig{Root: os.Geteuid() == 0, PureCgroup: os.Getenv(inPrivate) != "", path: searchPath}
	account, err := f.account()
	if err != nil {
		return nil, err
	}
	if r.Root && !r.PureCgroup && !isCgroup2("/sys/fs/cgroup") {
		// On return there is no such mount; whoever needs it is named as not run.
		if err := restartWithCgroup2(); err != nil {
			fmt.Fprintf(os.Stderr, "no private cgroup v2 mount: %v\n", err)
		}
	}
	if r.Candidates, err = f.candidates(); err != nil {
		return nil, err
	}
	if err := r.makeFiles(f, account); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (f Flags) candidates() ([]Candidate, error) {
	list := Standard()
	if f.Candidates != "" {
		var err error
		if list, err = Load(f.Candidates); err != nil {
			return nil, err
		}
	}
	if f.Only == "" {
		return list, nil
	}
	var chosen []Candidate
	for name := range strings.SplitSeq(f.Only, ",") {
		i := slices.IndexFunc(list, func(c Candidate) bool { return c.Name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("no candidate %q", name)
		}
		chosen = append(chosen, list[i])
	}
	return chosen, nil
}

// account returns who runs the candidates.
func (f Flags) account() (*user.User, error) {
	if os.Geteuid() != 0 {
		if f.User != "" {
			return nil, errors.New("-user needs root")
		}
		return user.Current()
	}
	if f.User != "" {
		account, err := user.Lookup(f.User)
		if err == nil && account.Uid == "0" {
			err = errors.New("the account must not be root")
		}
		return account, err
	}
	if uid := os.Getenv("SUDO_UID"); uid != "" && uid != "0" {
		return user.LookupId(uid)
	}
	return nil, errors.New("started as root: name an unprivileged account with -user")
}

// makeFiles creates everything the candidates need and the starter.
func (r *Rig) makeFiles(f Flags, account *user.User) error {
	bin, err := filepath.Abs(f.Bin)
	if err != nil {
		return err
	}
	sbx, err := filepath.Abs(f.SBX)
	if err != nil {
		return err
	}
	parent := cmp.Or(f.Work, bin)
	if f.Work == "" && unix.Access(bin, unix.W_OK) != nil {
		parent = account.HomeDir
	}
	if parent, err = filepath.Abs(parent); err != nil {
		return err
	}
	if r.work, err = r.mkdirTemp(parent, "run-"); err != nil {
		return err
	}
	work := r.work
	// The payload lies in the directory the candidates start in, so it is visible
	// wherever that directory is; a copy below /tmp would be hidden by most of them.
	ws := filepath.Join(work, "ws")
	home := filepath.Join(work, "home") // nobody's settings count, and nothing is left in them
	for _, dir := range []string{ws, home} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"true0", "idle0"} {
		if err := copyFile(filepath.Join(ws, name), filepath.Join(bin, name)); err != nil {
			return fmt.Errorf("%w (make bench-tools builds it)", err)
		}
	}
	r.names = map[string]string{
		"bin": bin, "sbx": sbx,
		"ws": ws, "profiles": filepath.Join(work, "profiles"), "state": filepath.Join(work, "state"),
		"bundle": filepath.Join(work, "bundle"), "rootfs": filepath.Join(work, "bundle/rootfs"),
		"uid": account.Uid, "gid": account.Gid,
	}
	r.nameSubordinates(account)
	if err := os.MkdirAll(r.names["state"], 0o755); err != nil {
		return err
	}
	if err := writeProfiles(r.names["profiles"]); err != nil {
		return err
	}
	if err := writeBundle(r.names["bundle"], filepath.Join(bin, "true0"), id32(account.Uid), id32(account.Gid)); err != nil {
		return err
	}
	short, err := r.mkdirTemp("", "bench-") // podman's limit is 50 characters
	if err != nil {
		return err
	}
	if err := os.Chmod(short, 0o700); err != nil {
		return err
	}
	r.names["short"] = short
	return r.start(account, ws, home)
}

// nameSubordinates finds the account's ranges of ids, and what maps them.
func (r *Rig) nameSubordinates(account *user.User) {
	r.names["newuidmap"], _ = lookPath("newuidmap", r.path)
	r.names["newgidmap"], _ = lookPath("newgidmap", r.path)
	subuid, _ := os.ReadFile("/etc/subuid")
	subgid, _ := os.ReadFile("/etc/subgid")
	var gids string
	r.names["subuid"], r.names["subcount"] = subordinate(string(subuid), account.Username, account.Uid)
	r.names["subgid"], gids = subordinate(string(subgid), account.Username, account.Gid)
	if r.names["subcount"] != gids {
		r.names["subcount"] = "" // two ranges of different length: not a case worth a row
	}
}

// start starts the starter in ws, as the account and with its environment. As root
// it gives the account what was made for it.
func (r *Rig) start(account *user.User, ws, home string) (err error) {
	env := []string{
		"PATH=" + r.path, "HOME=" + home, "USER=" + account.Username, "LOGNAME=" + account.Username,
		"LANG=C", "TERM=dumb", "XDG_RUNTIME_DIR=" + r.runtimeDir(account.Uid, r.names["short"]),
	}
	var cred *syscall.Credential
	if r.Root {
		if cred, err = credential(account); err != nil {
			return err
		}
		for _, dir := range r.temp {
			if err := chownAll(dir, int(id32(account.Uid)), int(id32(account.Gid))); err != nil {
				return err
			}
		}
	} else if bus := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); bus != "" {
		env = append(env, "DBUS_SESSION_BUS_ADDRESS="+bus)
	}
	r.Starter, err = proc.New(ws, env, cred)
	return err
}

func (r *Rig) mkdirTemp(dir, prefix string) (string, error) {
	name, err := os.MkdirTemp(dir, prefix)
	if err != nil {
		return "", err
	}
	r.temp = append(r.temp, name)
	return name, os.Chmod(name, 0o755)
}

// runtimeDir is XDG_RUNTIME_DIR of the account, or otherwise in its place.
func (r *Rig) runtimeDir(uid, otherwise string) string {
	dir := "/run/user/" + uid
	if !r.Root && os.Getenv("XDG_RUNTIME_DIR") != "" {
		dir = os.Getenv("XDG_RUNTIME_DIR")
	}
	var st unix.Stat_t
	if unix.Stat(dir, &st) == nil && strconv.Itoa(int(st.Uid)) == uid {
		return dir
	}
	return otherwise
}

// Close ends what still runs and removes the files.
func (r *Rig) Close() {
	if r.Starter != nil {
		r.Starter.Close()
	}
	for _, dir := range r.temp {
		if err := removeAll(dir); err != nil {
			fmt.Fprintf(os.Stderr, "left behind: %v\n", err)
		}
	}
}

// Command is the command line of c for one run of payload. Its first element is a path.
func (r *Rig) Command(c Candidate, payload ...string) ([]string, error) {
	r.count++
	r.names["n"] = strconv.Itoa(r.count)
	return commandLine(c.Argv, payload, r.names, r.path)
}

// True is the payload that ends at once, Idle the one that stays.
func (r *Rig) True() string { return filepath.Join(r.names["ws"], "true0") }
func (r *Rig) Idle() string { return filepath.Join(r.names["ws"], "idle0") }

// Ready returns the candidates of one measurement. Each was tried once; the ones that
// can't run have NotRun set.
func (r *Rig) Ready(measurement string) []Candidate {
	var list []Candidate
	for i := range r.Candidates {
		c := &r.Candidates[i]
		if !slices.Contains(c.In, measurement) {
			continue
		}
		if c.NotRun == "" {
			if err := r.try(*c); err != nil {
				c.NotRun = strings.NewReplacer(r.work+"/", "", r.names["bin"]+"/", "").Replace(err.Error())
			}
		}
		list = append(list, *c)
	}
	return list
}

func (r *Rig) try(c Candidate) error {
	for _, need := range c.Requires {
		need, err := expand(need, r.names)
		if err != nil {
			return err
		}
		if _, err := lookPath(need, r.path); err != nil {
			return err
		}
	}
	argv, err := r.Command(c, r.True())
	if err != nil {
		return err
	}
	return r.Probe(argv, 20*time.Second)
}

// Versions returns the first line each candidate's tool says about itself.
func (r *Rig) Versions() []string {
	var list []string
	for _, c := range r.Candidates {
		if len(c.Version) == 0 || c.NotRun != "" {
			continue
		}
		argv, err := commandLine(c.Version, nil, r.names, r.path)
		if err != nil {
			continue
		}
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir, cmd.Env, cmd.SysProcAttr = r.Dir, r.Env, &syscall.SysProcAttr{Credential: r.Cred}
		out, err := cmd.Output()
		if line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n"); err == nil && line != "" {
			list = append(list, line)
		}
	}
	return list
}

// subordinate returns the first range of an account in the text of /etc/subuid or
// /etc/subgid. See subuid(5).
func subordinate(text, name, id string) (first, count string) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name && f[0] != id {
			continue
		}
		if _, err := strconv.ParseUint(f[1], 10, 32); err != nil {
			continue
		}
		return f[1], f[2]
	}
	return "", ""
}

func credential(account *user.User) (*syscall.Credential, error) {
	list, err := account.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", account.Username, err)
	}
	var groups []uint32
	for _, g := range list {
		groups = append(groups, id32(g))
	}
	return &syscall.Credential{Uid: id32(account.Uid), Gid: id32(account.Gid), Groups: groups}, nil
}

func id32(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32) // on Linux os/user gives decimal ids
	return uint32(n)
}

func chownAll(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// removeAll removes a tree in which some directories may not be open to their owner.
func removeAll(dir string) error {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

func isCgroup2(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}
