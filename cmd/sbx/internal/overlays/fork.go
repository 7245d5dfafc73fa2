package overlays

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/profiles"
)

// maxForks bounds how many sandboxes one fork starts.
const maxForks = 64

// ForkCommand is the verb fork.
func ForkCommand() cli.Command {
	return cli.Command{
		Name: "fork", Args: "[FLAGS] [PROFILE|-|NAME NAME...] [--] [COMMAND [ARG...]]", Runs: true, Strict: true,
		Summary: "run a command several times at once, with an overlay each",
		Long: "Run COMMAND as sbx run --overlay does, several times at once over one directory, each with an overlay of its own. " +
			"SBX_FORK is a run's number from 1 on, SBX_FORK_NAME its overlay's name. Several words before --, the first being no profile, name the overlays: sbx fork gcc clang -- make. " +
			"Output comes line by line after the overlay's name; the exit status is the highest.",
		Example: "sbx fork -n 3 -- sh -c 'make -j$SBX_FORK'",
		Words:   cli.RunWords,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			n, prefix := 0, ""
			cli.AddFlag(fs, cli.Flag{Name: "number", Short: "n", Arg: "N", Group: cli.GroupFiles, Usage: "how many runs, 2 if not given", Set: func(s string) (err error) {
				if n, err = strconv.Atoi(s); err != nil || n < 1 || n > maxForks {
					err = fmt.Errorf("%q is not a number from 1 to %d", s, maxForks)
				}
				return err
			}})
			cli.AddFlag(fs, cli.Flag{Name: "prefix", Arg: "NAME", Group: cli.GroupFiles, Usage: "the overlays are called NAME-1, NAME-2 and so on", Set: func(s string) error {
				prefix = s
				return upper.CheckName(s)
			}})
			options.RunFlags(fs)
			var given []string // run's flags, as they were given
			fs.VisitAll(func(f *pflag.Flag) {
				switch f.Name {
				case "number", "prefix":
				case "overlay":
					f.Hidden, f.Value = true, &cli.Text{Arg: f.Value.Type(), Take: func(string) error { return errors.New("fork names the overlays itself; use --prefix=NAME") }}
				default:
					f.Value = &recorded{f.Value, f.Name, &given}
				}
			})
			return func(inv *cli.Invocation) error {
				names, err := forkNames(inv, n, prefix)
				if err != nil {
					return err
				}
				return fork(inv, names, given)
			}
		},
	}
}

// forkNames are the names of the overlays: the words before --, which it takes away,
// or numbered ones.
func forkNames(inv *cli.Invocation, n int, prefix string) (names []string, err error) {
	if dash := slices.Index(inv.Args, "--"); dash > 1 && inv.Dash < 0 && !isProfile(inv.Args[0]) {
		names, inv.Args, inv.Dash = inv.Args[:dash], inv.Args[dash+1:], 0
		if n != 0 || prefix != "" {
			return nil, cli.Usagef("the overlays are either named (%s) or numbered (-n, --prefix)", strings.Join(names, " "))
		}
		for i, name := range names {
			if err := upper.CheckName(name); err != nil {
				return nil, cli.Usagef("%v", err)
			}
			if slices.Contains(names[:i], name) {
				return nil, cli.Usagef("%s is there twice: each run has an overlay of its own", name)
			}
		}
		if len(names) > maxForks {
			return nil, cli.Usagef("%d runs at once, and at most %d can be", len(names), maxForks)
		}
		return names, nil
	}
	if prefix == "" {
		prefix = upper.NewName("fork")
	}
	for i := range cmp.Or(n, 2) {
		names = append(names, prefix+"-"+strconv.Itoa(i+1))
	}
	return names, nil
}

func isProfile(name string) bool {
	_, err := profiles.Find(name, profiles.HostEnv())
	return err == nil
}

// recorded is a flag's value that also notes that it was given.
type recorded struct {
	pflag.Value
	name string
	into *[]string
}

// Set implements pflag.Value.
func (r *recorded) Set(s string) error {
	*r.into = append(*r.into, "--"+r.name+"="+s)
	return r.Value.Set(s)
}

// forked is one run of fork.
type forked struct {
	name   string
	status int   // of sbx run; negative where there is none
	err    error // why there is none
}

func fork(inv *cli.Invocation, names, flags []string) error {
	runs := make([]forked, len(names))
	var mu sync.Mutex // of the output
	var wg sync.WaitGroup
	for i := range runs {
		f := &runs[i]
		f.name = names[i]
		args := append([]string{"run", "--overlay=" + f.name, "--env=SBX_FORK=" + strconv.Itoa(i+1), "--env=SBX_FORK_NAME=" + f.name, "--quiet"}, flags...)
		if inv.Dash == 0 {
			args = append(args, "--")
		}
		cmd := exec.Command("/proc/self/exe", append(args, inv.Args...)...)
		out, outw := io.Pipe()
		cmd.Stdout, cmd.Stderr = outw, outw
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		wg.Go(func() {
			lines := bufio.NewReader(out)
			for {
				line, err := lines.ReadString('\n')
				if line != "" {
					mu.Lock()
					fmt.Fprintf(inv.Out, "%s| %s", f.name, withNewline(line))
					mu.Unlock()
				}
				if err != nil {
					return
				}
			}
		})
		wg.Go(func() {
			defer outw.Close()
			f.err = cmd.Run()
			f.status = cmd.ProcessState.ExitCode()
		})
	}
	wg.Wait()
	for _, f := range runs {
		status, line := f.end()
		inv.Status = max(inv.Status, status)
		fmt.Fprintln(inv.Out, line)
	}
	return nil
}

// end is a run's exit status, and the line that says so; of one that was not started,
// or was killed, with the reason.
func (f *forked) end() (status int, line string) {
	if f.status < 0 {
		return cli.ExitSbx, fmt.Sprintf("%s: exit status %d: %v", f.name, cli.ExitSbx, f.err)
	}
	return f.status, fmt.Sprintf("%s: exit status %d", f.name, f.status)
}

func withNewline(s string) string {
	if s == "" || s[len(s)-1] != '\n' {
		return s + "\n"
	}
	return s
}
