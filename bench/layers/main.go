// Command layers measures what overlays cost: work on files in a bare directory, in
// a sandbox that binds it, in overlays of sbx by both backends and in one without the
// filter of system calls and Landlock, in an overlay that is mounted by hand, and in
// podman's by both of its means, where podman is there; these three have no filter either.
// All take turns in every round. Time and processor time are taken where the work is
// done, so that no start is in it, and of fuse-overlayfs's own work only the time.
//
//	layers -sbx bin/sbx -rounds 9
//	layers -sbx bin/sbx -rounds 30 -min               on a busy machine
//	layers -sbx bin/sbx -dir /dev/shm -min            without a disk
//	layers -sbx bin/sbx -write docs/BENCHMARKS.md
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-sandbox/sbx/bench/internal/section"
	"github.com/sbx-sandbox/sbx/bench/internal/table"
)

// work is something to do in a directory of which plant makes the state before.
// What comes before the mark | of do is not measured.
type work struct{ name, plant, do string }

// environment is where go keeps what it built: in the directory itself.
const environment = "export GOCACHE=$PWD/cache GOPATH=$PWD/gopath GOFLAGS=-buildvcs=false CGO_ENABLED=0 GOPROXY=off"

// works are scripts: of plant the result is kept and copied, do is measured.
var works = []work{
	{"untar of 4,000 files", `mkdir d; for i in $(seq 80); do mkdir d/$i; for j in $(seq 50); do head -c $((i * 75)) /dev/zero >d/$i/$j; done; done; tar cf t.tar d; rm -rf d`, "tar --no-same-owner -xf t.tar"},
	{"git checkout, 800 files change", `git init -q; git config user.email a@example.org; git config user.name a; mkdir s; for i in $(seq 800); do echo one $i >s/$i; done; git add .; git commit -qm one; git checkout -qb two; ` +
		`for i in $(seq 800); do echo two $i >s/$i; done; git commit -qam two; git checkout -q -`, "git status >/dev/null|git checkout -q two"}, // a copy's index knows other inodes
	{"go build of 30 packages", environment + `; printf 'module example.com/b\n\ngo 1.21\n' >go.mod; printf 'package main\n\nimport (\n' >main.go; for i in $(seq 30); do mkdir p$i; printf 'package p%d\n\nimport (\n\t"encoding/json"\n\t"sort"\n)\n\nfunc F(v []int) []byte {\n\tsort.Ints(v)\n\tb, _ := json.Marshal(v)\n\treturn b\n}\n' $i >p$i/p.go; printf '\t"example.com/b/p%d"\n' $i >>main.go; done; ` +
		`printf ')\n\nfunc main() {\n' >>main.go; for i in $(seq 30); do printf '\tp%d.F(nil)\n' $i >>main.go; done; echo '}' >>main.go; go build encoding/json sort`, environment + "|go build -o prog ."},
	{"stat of 8,000 files, first", `for i in $(seq 80); do mkdir $i; (cd $i; touch $(seq 100)); done`, "find . -printf '%s %T@\n' >/dev/null"},
	{"stat of 8,000 files, again", `for i in $(seq 80); do mkdir $i; (cd $i; touch $(seq 100)); done`, "@find . -printf '%s %T@\n' >/dev/null"},
	{"append to 1,000 files of 16 KiB", `mkdir d; for i in $(seq 1000); do head -c 16384 /dev/zero >d/$i; done`, "for f in d/*; do echo x >>$f; done"},
	{"append to 1 file of 64 MiB", `head -c 67108864 /dev/zero >big`, "echo x >>big"},
	{"write 64 MiB", `true`, "head -c 67108864 /dev/zero >new"},
	{"read 64 MiB", `head -c 67108864 /dev/zero >big`, "cat big >/dev/null"},
}

// place is where the work is done.
type place struct {
	name string
	// own says that the work changes the directory itself, which is copied first.
	own bool
	run func(b *bench, dir, script string) (string, error)
}

func (b *bench) sandbox(dir, script string, flags ...string) (string, error) {
	argv := append([]string{"run", "-q", "--set", "workspace.git=rw", "--set", "workspace.audit=off"}, flags...)
	return b.output(dir, b.sbx, append(argv, "build", "--", "bash", "-c", script)...)
}

func (b *bench) overlay(dir, script, backend string, more ...string) (string, error) {
	return b.sandbox(dir, script, append(more, "--overlay", "--set", "overlay.on_exit=discard", "--set", "overlay.backend="+backend)...)
}

// unfiltered leaves the overlay of a sandbox alone, as those by hand and podman's are:
// what the sandbox adds to it is the difference.
var unfiltered = []string{"--set", "security.seccomp=unconfined", "--set", "security.landlock=off"}

var places = []place{
	{"bare directory", true, func(b *bench, dir, script string) (string, error) { return b.output(dir, "bash", "-c", script) }},
	{"sbx, bind", true, func(b *bench, dir, script string) (string, error) { return b.sandbox(dir, script) }},
	{"sbx, kernel", false, func(b *bench, dir, script string) (string, error) { return b.overlay(dir, script, "kernel") }},
	{"sbx, kernel, no filter", false, func(b *bench, dir, script string) (string, error) {
		return b.overlay(dir, script, "kernel", unfiltered...)
	}},
	{"sbx, fuse-overlayfs", false, func(b *bench, dir, script string) (string, error) { return b.overlay(dir, script, "fuse-overlayfs") }},
	{"kernel, by hand", false, func(b *bench, dir, script string) (string, error) {
		layers := filepath.Join(b.top, "hand")
		for _, d := range []string{"upper", "work", "m"} {
			if err := os.MkdirAll(filepath.Join(layers, d), 0o700); err != nil {
				return "", err
			}
		}
		defer exec.Command("sh", "-c", `chmod -R u+rwx "$0"; rm -rf "$0"`, layers).Run()
		mount := `mount -t overlay x -o lowerdir="$0",upperdir="$1/upper",workdir="$1/work",userxattr "$1/m" && cd "$1/m" && eval "$2"`
		return b.output(dir, "unshare", "-Urm", "bash", "-c", mount, dir, layers, script)
	}},
	{"podman, kernel", false, func(b *bench, dir, script string) (string, error) { return b.podman(dir, script, "kernel") }},
	{"podman, fuse-overlayfs", false, func(b *bench, dir, script string) (string, error) {
		return b.podman(dir, script, "fuse-overlayfs", "--storage-opt", "overlay.mount_program=/usr/bin/fuse-overlayfs")
	}},
}

// runs leaves out the places that the host does not have.
func runs(list []place) []place {
	_, podman := exec.LookPath("podman")
	_, fuse := os.Stat("/usr/bin/fuse-overlayfs")
	return slices.DeleteFunc(list, func(p place) bool {
		return podman != nil && strings.HasPrefix(p.name, "podman") || fuse != nil && strings.HasSuffix(p.name, "fuse-overlayfs")
	})
}

// podman does the work in the file system of a container of podman's own, whose
// image is the directory. No container is run: that takes control groups of its
// own, and is not what is measured.
func (b *bench) podman(dir, script, driver string, options ...string) (string, error) {
	at, run := b.podmanAt(driver)
	podman := append([]string{"podman", "--root", at, "--runroot", run, "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--log-level", "error"}, options...)
	image := "localhost/bench-" + filepath.Base(dir)
	if _, err := b.output("/", podman[0], append(podman[1:], "image", "exists", image)...); err != nil {
		fill := `d=$1 i=$2; shift 2; tar -C "$d" --owner=0 --group=0 -c . | "$@" import -q - "$i"`
		if _, err := b.output("/", "sh", append([]string{"-c", fill, "sh", dir, image}, podman...)...); err != nil {
			return "", err
		}
	}
	const inside = `image=$1 script=$2; shift 2; c=$("$@" create "$image" true); cd "$("$@" mount "$c")"; eval "$script"; cd /; "$@" rm -f "$c" >/dev/null`
	args := append(slices.Clone(podman[1:]), "unshare", "bash", "-ec", inside, "sh", image, script)
	return b.output("/", podman[0], append(args, podman...)...)
}

// podmanAt is where podman keeps what is not to be with the person's own. The
// second may have 50 characters at most.
func (b *bench) podmanAt(driver string) (root, run string) {
	return filepath.Join(b.top, "podman-"+driver), fmt.Sprintf("%s/bench-%d-%.1s", os.TempDir(), os.Getpid(), driver)
}

// reset removes what podman keeps, which is others' than the caller's.
func (b *bench) reset() {
	for _, p := range places {
		if driver, ok := strings.CutPrefix(p.name, "podman, "); ok {
			at, run := b.podmanAt(driver)
			_ = exec.Command("podman", "--root", at, "--runroot", run, "--storage-driver", "overlay", "unshare", "rm", "-rf", at).Run()
			_ = os.RemoveAll(run)
		}
	}
}

// timed prints the seconds that a script takes, then those of the processor in user
// mode and in the kernel; with @ before it its second run is the one.
func timed(script string) string {
	before, do, ok := strings.Cut(script, "|")
	if !ok {
		before, do = ":", script
	}
	again, twice := strings.CutPrefix(do, "@")
	if do = again; twice {
		before += "; " + again
	}
	return "set -e; " + before + "; TIMEFORMAT='%3R %3U %3S'; { time { " + do + "; } 2>&3; } 3>&2 2>&1"
}

func (b *bench) output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "XDG_DATA_HOME="+filepath.Join(b.top, "data")) // overlays on the same file system
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", name, err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

type bench struct {
	sbx, top string
	rounds   int
	least    bool // of the rounds, else the median of their ratios
}

// flags are what the command line says.
type flags struct {
	sbx, dir, only, write string
	rounds                int
	least                 bool
}

func main() {
	var f flags
	flag.StringVar(&f.sbx, "sbx", "bin/sbx", "the `binary` to measure with")
	flag.StringVar(&f.dir, "dir", "", "the `directory` to work in (default: the home)")
	flag.IntVar(&f.rounds, "rounds", 9, "of each piece of work in each place")
	flag.StringVar(&f.only, "only", "", "only the work whose name holds this `text`")
	flag.StringVar(&f.write, "write", "", "put the tables into this Markdown `file` as well")
	flag.BoolVar(&f.least, "min", false, "compare the least and not the medians, as on a busy machine")
	flag.Parse()
	if err := run(f); err != nil {
		fmt.Fprintln(os.Stderr, "layers:", err)
		os.Exit(1)
	}
}

func run(f flags) error {
	sbx, err := filepath.Abs(f.sbx)
	if err != nil {
		return err
	}
	if f.dir == "" {
		if f.dir, err = os.UserHomeDir(); err != nil {
			return err
		}
	}
	top, err := os.MkdirTemp(f.dir, "bench-layers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	b := &bench{sbx, top, f.rounds, f.least}
	defer b.reset()
	places = runs(places)
	head := []string{"times the bare directory", "bare"}
	for _, p := range places[1:] {
		head = append(head, p.name)
	}
	cpu, wall := &table.Table{Head: head}, &table.Table{Head: head}
	for i, w := range works {
		if !strings.Contains(w.name, f.only) {
			continue
		}
		all, err := b.measure(filepath.Join(top, strconv.Itoa(i)), w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		cpu.Add(b.row(w.name, all, func(s sample) float64 { return s.cpu })...)
		wall.Add(b.row(w.name, all, func(s sample) float64 { return s.wall })...)
		fmt.Fprintf(os.Stderr, "%s\n", w.name)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Written by `go run ./bench/layers -write`: %s of %d rounds in turns, on %s. Processor time of the work itself, without fuse-overlayfs's:\n\n",
		map[bool]string{true: "the least", false: "medians"}[f.least], f.rounds, fileSystem(f.dir))
	if err := cpu.Markdown(&text); err != nil {
		return err
	}
	text.WriteString("\nTime:\n\n")
	if err := wall.Markdown(&text); err != nil {
		return err
	}
	fmt.Print(text.String())
	if f.write == "" {
		return nil
	}
	return section.Replace(f.write, section.Layers, text.String())
}

// fileSystem is the type of the one that dir lies on.
func fileSystem(dir string) string {
	out, err := exec.Command("stat", "-f", "-c", "%T", dir).Output()
	if err != nil {
		return "an unknown file system"
	}
	return strings.TrimSpace(string(out))
}

// sample is what one piece of work took in one place, in seconds.
type sample struct{ wall, cpu float64 }

// parse reads what the script of timed printed.
func parse(out string) (sample, error) {
	var s sample
	var user, kernel float64
	if _, err := fmt.Sscan(out, &s.wall, &user, &kernel); err != nil {
		return s, fmt.Errorf("it printed %q: %w", out, err)
	}
	s.cpu = user + kernel
	return s, nil
}

// measure does the work in every place in turn: the samples of each round, one for
// each place.
func (b *bench) measure(dir string, w work) (rounds [][]sample, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := b.output(dir, "sh", "-ec", w.plant); err != nil {
		return nil, err
	}
	for range b.rounds {
		took := make([]sample, len(places))
		for _, i := range rand.Perm(len(places)) {
			if took[i], err = b.once(dir, places[i], w); err != nil {
				return nil, fmt.Errorf("%s: %w", places[i].name, err)
			}
		}
		rounds = append(rounds, took)
	}
	return rounds, nil
}

func (b *bench) once(dir string, p place, w work) (sample, error) {
	at := dir
	if p.own {
		at = dir + "-copy"
		if _, err := b.output("/", "cp", "-a", dir, at); err != nil {
			return sample{}, err
		}
		defer os.RemoveAll(at)
	}
	out, err := p.run(b, at, timed(w.do))
	if err != nil {
		return sample{}, err
	}
	return parse(out)
}

// row is a line of a table: what the bare directory took, and the ratios to it, of the
// medians over the rounds or of the least.
func (b *bench) row(name string, rounds [][]sample, of func(sample) float64) []string {
	cells := []string{name}
	var bare float64
	for i := range places {
		var took, ratios []float64
		for _, r := range rounds {
			took, ratios = append(took, of(r[i])), append(ratios, of(r[i])/of(r[0]))
		}
		ratio := median(ratios)
		if b.least {
			ratio = slices.Min(took) / bare
		}
		if i == 0 {
			if bare = median(took); b.least {
				bare = slices.Min(took)
			}
			cells = append(cells, fmt.Sprintf("%.0f ms", bare*1e3))
			continue
		}
		if bare < tick { // a ratio to nothing says nothing
			cells = append(cells, "-")
			continue
		}
		cells = append(cells, fmt.Sprintf("%.2f", ratio))
	}
	return cells
}

// tick is what has to be there at least to be compared with, in seconds: the shell
// prints milliseconds.
const tick = 0.004

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
