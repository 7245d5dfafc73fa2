package usage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// liveKeys are the limits that can be changed while a sandbox runs.
var liveKeys = []string{"limits.memory", "limits.memory_high", "limits.swap", "limits.cpus", "limits.cpu_weight", "limits.cpuset", "limits.processes",
	"limits.io_read_bps", "limits.io_write_bps", "limits.io_read_iops", "limits.io_write_iops"}

// UpdateCommand is the verb update.
func UpdateCommand() cli.Command {
	return sandboxes.Verb{
		Name: "update", Summary: "change the limits of sandboxes that run",
		Long: "Change limits that a sandbox's control group holds, while it runs. Those that are not named stay as they are. " +
			"A sandbox has such a group if it was started with a limit that takes one, or with limits.cgroup = \"always\". " +
			"A restart begins with the limits that it was started with.",
		Example: "sbx update -m 4G --cpus 2 web\nsbx update --set limits.memory_high=1G web",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation, *state.Store, *state.Record) error {
			o := &options.Options{}
			for _, k := range options.KeyFlags() {
				if !slices.Contains(liveKeys, k.Key) {
					continue
				}
				k.Rare = false // among so few
				k.Add(fs, o)
			}
			cli.AddFlag(fs, cli.Flag{Name: "set", Arg: "KEY=VALUE", Group: cli.GroupLimits, Usage: "any key of them, as limits.swap=1G", Words: []string{"@key"}, Set: o.AddSet})
			return func(inv *cli.Invocation, store *state.Store, r *state.Record) error {
				l, err := liveLimits(o.Over)
				if err != nil {
					return err
				}
				if !r.Alive() {
					return sandboxes.NotRunning(r)
				}
				if err := changeLimits(r, l); err != nil {
					return fmt.Errorf("%s: %w", r.Name, err)
				}
				store.Note(r, state.ActionUpdate)
				return sandboxes.Done(inv, r)
			}
		},
	}.Command()
}

// liveLimits is what the flags name, and nothing else.
func liveLimits(over []profiles.Override) (*cgroup.Limits, error) {
	if len(over) == 0 {
		return nil, cli.Usagef("which limit? for example: sbx update -m 2G NAME")
	}
	given := map[string]bool{}
	for _, o := range over {
		if !slices.Contains(liveKeys, o.Key) {
			return nil, cli.Usagef("%s can't be changed while a sandbox runs, only %s", o.Key, strings.Join(liveKeys, ", "))
		}
		given[o.Key] = true
	}
	prof, err := profiles.Parse("update", []byte("version = 1\nextends = []\n"), profiles.HostEnv())
	if err != nil {
		return nil, err
	}
	if prof, err = prof.With(over); err != nil {
		return nil, cli.WrongUsage(err)
	}
	in := &prof.Limits
	for _, x := range []struct {
		key    string
		lifted bool
	}{
		{"limits.memory", in.Memory <= 0}, {"limits.memory_high", in.MemoryHigh <= 0}, {"limits.swap", in.Swap < 0},
		{"limits.cpus", in.CPUs <= 0}, {"limits.cpuset", in.CPUSet == ""}, {"limits.processes", in.Processes <= 0},
	} {
		if given[x.key] && x.lifted {
			return nil, cli.Usagef("%s can be changed and not be lifted, choose a larger one", x.key)
		}
	}
	if given["limits.memory"] && in.Memory < resolve.LeastMemory {
		return nil, cli.Usagef("limits.memory = %d: nothing is left alive in so few bytes; write a unit, as in 512M", in.Memory)
	}
	l := resolve.GroupLimits(prof)
	l.OOMGroup, l.CPUWeight = false, 0
	if given["limits.cpu_weight"] {
		l.CPUWeight = in.CPUWeight
	}
	switch l.SwapMax = max(in.Swap, 0); {
	case given["limits.swap"] && in.Swap == 0:
		l.SwapMax = cgroup.None
	case !given["limits.swap"]:
		l.SwapMax = 0 // as it is
	}
	for i := range l.IO {
		if l.IO[i].Device, err = (host.OS{}).Disk(l.IO[i].Path); err != nil {
			return nil, err
		}
	}
	return &l, nil
}

// changeLimits changes the limits of a sandbox and reads them back.
func changeLimits(r *state.Record, l *cgroup.Limits) error {
	facts := host.Facts{UID: uint32(os.Getuid())}
	facts.Exe, _ = os.Readlink("/proc/self/exe")
	facts.FindCgroup()
	_, at, err := groupOf(r)
	if err != nil {
		return err
	}
	unit := path.Base(path.Dir(at))
	top := cgroup.Group(filepath.Join(facts.Cgroup.Root, path.Dir(at)))
	have, err := top.Controllers()
	if err != nil {
		return err
	}
	for _, c := range l.Controllers() {
		if !slices.Contains(have, c) {
			return fmt.Errorf("its control group has no controller %s; see sbx doctor", c)
		}
	}
	if strings.HasSuffix(unit, ".scope") {
		err = askScope(&facts, unit, r.Init.PID, l)
	} else {
		err = top.Set(l)
	}
	if err != nil {
		return err
	}
	return top.Check(l)
}

// groupOf is the control group of all of a sandbox's processes, as a path below root, where
// the hierarchy of version 2 is mounted.
func groupOf(r *state.Record) (root, at string, err error) {
	at, err = cgroup.Of(strconv.Itoa(r.Init.PID))
	if errors.Is(err, unix.ENAMETOOLONG) {
		return "", "", fmt.Errorf("finding its control group, of which the command has made many below one another: %w", err)
	}
	if at = cgroup.Payload(at); err != nil || at == "" {
		return "", "", errors.New("it has no control group of its own; start it with a limit that takes one, or with limits.cgroup = \"always\"")
	}
	root, err = host.CgroupRoot()
	return root, at, err
}

// askScope has systemd change a scope, whose properties they are.
func askScope(facts *host.Facts, unit string, pid int, l *cgroup.Limits) error {
	if err := facts.Cgroup.Systemd.Err; err != nil {
		return err
	}
	const patience = 5 * time.Second
	text, err := json.Marshal(cgroup.ScopeRequest{Protocol: cgroup.ScopeProtocol, Socket: facts.Cgroup.Socket, Unit: unit, Update: true,
		PIDs: []int{pid}, Limits: *l, Patience: patience})
	if err != nil {
		return err
	}
	cmd := exec.Command(facts.Cgroup.Scope)
	cmd.Stdin, cmd.Env = bytes.NewReader(text), []string{}
	out, failed := cmd.Output()
	var a cgroup.ScopeAnswer
	if err := json.Unmarshal(out, &a); err != nil {
		return fmt.Errorf("sbx-scope: %w", errors.Join(failed, err))
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return failed
}
