package options

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/sandbox/supervise"
)

// Life is what the command line says of a sandbox's life: who sees it, and what
// stays of it.
type Life struct {
	Detach      bool
	interactive bool
	Remove      string // "" unless --rm is given, then "true" or "false"
	Cidfile     string
	Pidfile     string
	pid         string // what was written to it
	// The directories of both, from before the command runs: it may be what writes them,
	// and what is above them.
	cids, pids directory
	StatusFD   int // -1 for none
	Sdnotify   string
	LogMax     int64
	Restart    supervise.Policy
	Labels     map[string]string
	Name       string         // of the record, in place of the profile's
	Project    *state.Project // of sbx up
}

// DefaultLog is how much of a detached sandbox's output is kept.
const DefaultLog = 4 << 20

// LifeFlags declares the flags of run that say how long it lives and who hears
// of it.
func LifeFlags(fs *pflag.FlagSet) *Life {
	l := &Life{StatusFD: -1, LogMax: DefaultLog}
	cli.AddSwitch(fs, &l.Detach, "detach", "d", cli.GroupProcess, "run in the background and print the id; see sbx ps")
	cli.AddFlag(fs, cli.Flag{Rare: true, Name: "interactive", Short: "i", Group: cli.GroupLife, Usage: "standard input stays open with --detach, for sbx attach; without, it is always passed on", Set: func(string) error { l.interactive = true; return nil }})
	cli.AddFlag(fs, cli.Flag{Rare: true, Name: "rm", Arg: "WHETHER", Bare: "true", Group: cli.GroupLife, Usage: "forget the sandbox when it has ended: true, or false to keep its record; the default is true without --detach",
		Words: []string{"true", "false"}, Set: func(s string) error {
			if s != "true" && s != "false" {
				return fmt.Errorf("%q is neither true nor false", s)
			}
			l.Remove = s
			return nil
		}})
	cli.AddFlag(fs, cli.Flag{Rare: true, Name: "restart", Arg: "POLICY", Group: cli.GroupLife, Usage: "start the command again when it ends: no, on-failure[:N], always, unless-stopped, which is the same here",
		Words: []string{"no", "on-failure", "always", "unless-stopped"}, Set: func(s string) (err error) {
			l.Restart, err = supervise.ParsePolicy(s)
			return err
		}})
	cli.AddFlag(fs, cli.Flag{Rare: true, Name: "label", Arg: "NAME=VALUE", Group: cli.GroupLife, Usage: "a word for sbx ps --filter", Set: l.addLabel})
	cli.AddFlag(fs, cli.Flag{Rare: true, Name: "log-max", Arg: "SIZE", Group: cli.GroupLife, Usage: "how much output of a detached sandbox is kept; 4M without", Set: func(s string) (err error) {
		if l.LogMax, err = profiles.ParseSize(s); err == nil && l.LogMax < 64<<10 {
			err = fmt.Errorf("%s is less than 64K, which a few lines need", s)
		}
		return err
	}})
	cli.AddFlag(fs, cli.Flag{Rare: true, Name: "cidfile", Arg: "FILE", Group: cli.GroupLife, Usage: "write the id to a new file", Words: []string{"@file"}, Set: cli.FileName(&l.Cidfile)})
	cli.AddFlag(fs, cli.Flag{Rare: true, Name: "pidfile", Arg: "FILE", Group: cli.GroupLife, Usage: "write the host's pid of the sandbox's PID 1 to a file", Words: []string{"@file"}, Set: func(s string) (err error) {
		if s == "" {
			return errors.New("the name of the file is empty")
		}
		l.Pidfile, err = filepath.Abs(s) // a supervisor leaves the directory
		return err
	}})
	cli.AddFlag(fs, cli.Flag{Rare: true, Name: "json-status-fd", Arg: "FD", Group: cli.GroupLife, Usage: "write the id and pid, and later the exit status, as JSON lines", Set: func(s string) error {
		fd, err := strconv.Atoi(s)
		if err != nil || fd < 3 {
			return fmt.Errorf("%q is no descriptor from 3 on", s)
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC != 0 { // it is of this process's making: who was started has it without
			err = unix.EBADF
		}
		if err != nil {
			return fmt.Errorf("descriptor %d: %w; open it for sbx, as in %d>FILE", fd, err, fd)
		}
		l.StatusFD = fd
		return nil
	}})
	notifyFlag(fs, &l.Sdnotify)
	return l
}

// RunVerb is the verb that most others are told from.
const RunVerb = "run"

// ShimVerb is that of what stands for a wrapped program.
const ShimVerb = "shim"

// AllFlags declares all flags of the verb run.
func AllFlags(fs *pflag.FlagSet) *Options {
	o := RunFlags(fs)
	o.Life = LifeFlags(fs)
	cli.AddSwitch(fs, &o.Explain, "explain", "", cli.GroupOutput, "print what would be done and run nothing")
	return o
}

// RunSet are the flags of the verb run, for who reads a command line of it.
func RunSet() *pflag.FlagSet {
	c := cli.Command{Name: RunVerb, Strict: true, Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
		AllFlags(fs)
		return nil
	}}
	fs, _ := c.Set()
	return fs
}

func (l *Life) addLabel(s string) error {
	name, value, _ := strings.Cut(s, "=")
	if name == "" {
		return fmt.Errorf("%q has no name, write NAME=VALUE", s)
	}
	if l.Labels == nil {
		l.Labels = map[string]string{}
	}
	l.Labels[name] = value
	return nil
}

// Named is the name that the command line gives the sandbox, "" for none.
func (o *Options) Named() string {
	for _, over := range slices.Backward(o.Over) {
		if over.Key == "name" {
			return over.Value
		}
	}
	return ""
}

// Keep says whether the record stays when the command has ended.
func (l *Life) Keep() bool {
	if l.Remove != "" {
		return l.Remove == "false"
	}
	return l.Detach
}

// Check refuses what can't be meant together.
func (l *Life) Check() error {
	if l.Restart.Kind != supervise.Never && l.Remove == "true" {
		return cli.Usagef("--restart and --rm exclude each other: a sandbox that is started again is not forgotten")
	}
	if l.Restart.Kind != supervise.Never && !l.Detach {
		return cli.Usagef("--restart needs --detach: in the foreground, use a loop of your shell")
	}
	if l.Cidfile != "" {
		if _, err := os.Lstat(l.Cidfile); err == nil {
			return fmt.Errorf("--cidfile: %s is there already; remove it, or name another file", l.Cidfile)
		}
		if err := l.cids.open(l.Cidfile); err != nil {
			return fmt.Errorf("--cidfile: %w", err)
		}
	}
	if l.Pidfile != "" {
		if err := l.pids.open(l.Pidfile); err != nil {
			return fmt.Errorf("--pidfile: %w", err)
		}
	}
	return nil
}

// directory is one that is held by a descriptor. The zero value holds none.
type directory struct {
	fd   int
	held bool
}

// open holds the directory of a file.
func (d *directory) open(file string) (err error) {
	path := filepath.Dir(file)
	if d.fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	d.held = true
	return nil
}

// writeNew writes text to a file of the directory that is not there yet.
func (d *directory) writeNew(name, text string) error {
	if !d.held {
		return errors.New("BUG: its directory is not held")
	}
	fd, err := unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return written(os.NewFile(uintptr(fd), name), text)
}

// has says whether a file of the directory has just this text. It waits for nobody, and
// reads no more than that: the command may have put a FIFO in the file's place, or a
// link to what has no end.
func (d *directory) has(name, text string) bool {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	b := make([]byte, len(text)+1)
	n, err := unix.Read(fd, b)
	return err == nil && string(b[:n]) == text
}

// Notifies says whether systemd is told of it.
func (l *Life) Notifies() bool { return l.Sdnotify != "" && l.Sdnotify != notifyNever }

// Ended tells the exit status, and takes back the file with the pid.
func (l *Life) Ended(code int) {
	l.Say(struct {
		Code int `json:"exit-code"`
	}{code})
	if l.Notifies() {
		_ = notify("STOPPING=1") // who does not hear it hears of the end
	}
	l.TakePid()
}

// TakePid takes back the file with the pid, if it was written.
func (l *Life) TakePid() {
	if name := filepath.Base(l.Pidfile); l.pid != "" && l.pids.has(name, l.pid) { // else it is another sandbox's by now
		_ = unix.Unlinkat(l.pids.fd, name, 0)
	}
}

// WritePid writes the file with the pid, at once in place of one that is there.
//
// Precondition: Check found nothing wrong.
func (l *Life) WritePid(pid int) error {
	text, name := strconv.Itoa(pid)+"\n", filepath.Base(l.Pidfile)
	next, d := fmt.Sprintf("%s.%d", name, os.Getpid()), &l.pids
	_ = unix.Unlinkat(d.fd, next, 0) // of a process that had our number
	err := d.writeNew(next, text)
	if err == nil {
		err = unix.Renameat(d.fd, next, d.fd, name)
	}
	if err != nil {
		_ = unix.Unlinkat(d.fd, next, 0)
		return fmt.Errorf("--pidfile: %w", &os.PathError{Op: "write", Path: l.Pidfile, Err: err})
	}
	l.pid = text
	return nil
}

// WriteCid writes the file with the id.
//
// Precondition: Check found nothing wrong.
func (l *Life) WriteCid(id string) error {
	if err := l.cids.writeNew(filepath.Base(l.Cidfile), id); err != nil {
		return fmt.Errorf("--cidfile: %w", &os.PathError{Op: "write", Path: l.Cidfile, Err: err})
	}
	return nil
}

// Say writes a line to the descriptor of --json-status-fd. It does not wait for
// whoever does not read.
func (l *Life) Say(v any) {
	if l.StatusFD < 0 {
		return
	}
	text, _ := json.Marshal(v) // plain data
	n, err := 0, error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(l.StatusFD), Events: unix.POLLOUT}}, 1000)
	}
	if err == nil && n > 0 {
		_, _ = unix.Write(l.StatusFD, append(text, '\n'))
	}
}

// WriteNew writes text to a file that is not there yet.
func WriteNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return written(f, text)
}

func written(f *os.File, text string) error {
	_, err := f.WriteString(text)
	return errors.Join(err, f.Close())
}
