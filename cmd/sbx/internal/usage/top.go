// Package usage shows and changes what sandboxes use.
package usage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
	"github.com/sbx-sandbox/sbx/sandbox/processes"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// ticks is USER_HZ, the unit of times in /proc.
const ticks = 100

// TopCommand is the verb top.
func TopCommand() cli.Command {
	return cli.Command{
		Name: "top", Args: "[FLAGS] NAME", Summary: "list the processes of a sandbox",
		Long: "List the processes of a sandbox with their numbers on the host (PID) and inside (INSIDE), the state, the processor time and the memory in use. " +
			"Names and command lines come from inside, where a process can call itself anything.",
		Example: "sbx top web\nsbx top web --format '{{.PID}} {{.Inside}}'",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var format string
			cli.FormatFlag(fs, &format, "")
			return func(inv *cli.Invocation) error {
				r, err := sandboxes.Only(inv)
				if err != nil {
					return err
				}
				if !r.Alive() {
					return sandboxes.NotRunning(&r)
				}
				all, err := processes.Scan()
				if err != nil {
					return err
				}
				found, err := processesOf(&r, all)
				if err != nil {
					return err
				}
				for i := range found {
					found[i].Detail()
				}
				return cli.List(inv, found, format, topTable)
			}
		},
	}
}

// processesOf lists the processes of a sandbox, if its PID 1 is still the one
// that the record means.
func processesOf(r *state.Record, all *processes.Snapshot) ([]processes.Process, error) {
	fd, err := r.Init.Open()
	if err != nil {
		return nil, fmt.Errorf("%s has just ended, or is being started", r.Name)
	}
	defer unix.Close(fd)
	return all.Below(r.Init.PID)
}

func topTable(found []processes.Process) [][]string {
	cells := [][]string{{"PID", "INSIDE", "USER", "STATE", "TIME", "RSS", "COMMAND"}}
	for _, p := range found {
		command := strings.Join(p.Command, " ")
		if command == "" {
			command = "[" + p.Name + "]"
		}
		cells = append(cells, []string{strconv.Itoa(p.PID), strconv.Itoa(p.Inside), userName(p.UID), p.State, cpuText(p.CPU), screen.SizeText(p.RSS), command})
	}
	return cells
}

func cpuText(t uint64) string {
	d := time.Duration(t) * (time.Second / ticks)
	return fmt.Sprintf("%d:%02d.%02d", int(d/time.Minute), int(d/time.Second)%60, int(d/(10*time.Millisecond))%100)
}

// userName is the caller's own name, or the number of whoever it is.
func userName(uid uint32) string {
	if name := os.Getenv("USER"); int(uid) == os.Getuid() && name != "" {
		return name
	}
	return strconv.FormatUint(uint64(uid), 10)
}

// use is what a sandbox uses.
type use struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	CPU       float64 `json:"cpu_percent"`  // 100 is one processor
	Memory    int64   `json:"memory"`       // bytes; by "proc" what is shared counts for each process that has it
	Limit     int64   `json:"memory_limit"` // bytes, also of groups above; 0 for none
	PIDs      int     `json:"pids"`         // processes and threads
	ReadIO    int64   `json:"read_bytes"`   // from storage
	WrittenIO int64   `json:"written_bytes"`
	// Received and Sent are the bytes of the sandbox's own interface.
	Received int64 `json:"received_bytes"`
	Sent     int64 `json:"sent_bytes"`
	// By is what counted it: "cgroup", or "proc" where the sandbox has no control
	// group. Group is what only the first knows.
	By    string        `json:"by"`
	Group *cgroup.Usage `json:"cgroup,omitempty"`
	// Limits are those in effect, also of groups above, where there is a group.
	Limits *bounds `json:"limits,omitempty"`
}

// bounds are limits; nil is none.
type bounds struct {
	Memory     *int64   `json:"memory"` // bytes
	MemoryHigh *int64   `json:"memory_high"`
	Swap       *int64   `json:"swap"`
	CPUs       *float64 `json:"cpus"`
	PIDs       *int64   `json:"pids"`
	CPUSet     string   `json:"cpuset"` // "" without that controller
}

// StatsCommand is the verb stats.
func StatsCommand() cli.Command {
	return cli.Command{
		Name: "stats", Args: "[FLAGS] [NAME...]", Summary: "show what sandboxes use, live",
		Long: "Show processor, memory, storage and processes in use of the sandboxes that are named, or of all, again and again on a terminal, else once. " +
			"A sandbox with a control group (a limit that takes one, or limits.cgroup = \"always\") is counted by the kernel, and --format json has the pressure as well. " +
			"For another one what /proc shows of its processes is added up: what ended since is not in it, and what processes share is counted for each.",
		Example: "sbx stats\nsbx stats --no-stream --format json web",
		Words:   sandboxes.Names,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var format string
			once := false
			cli.AddSwitch(fs, &once, "no-stream", "", cli.GroupOutput, "once, and no more")
			cli.FormatFlag(fs, &format, "")
			return func(inv *cli.Invocation) error { return stats(inv, once || !screen.IsTerminal(inv.Out), format) }
		},
	}
}

// meter is what was used at a moment.
type meter struct {
	at  time.Time
	cpu map[int]uint64 // ticks by process
	all int64          // microseconds, where there is a control group
}

func stats(inv *cli.Invocation, once bool, format string) error {
	const every = time.Second
	last := map[string]meter{}
	first := true
	for {
		records, broken, err := chosen(inv)
		if err != nil {
			return err
		}
		all, err := processes.Scan()
		if err != nil {
			return err
		}
		rows := []use{}
		for i := range records {
			if u, ok := measure(&records[i], all, last); ok {
				rows = append(rows, u)
			}
		}
		if first { // a share of a processor takes two looks
			first = false
			time.Sleep(200 * time.Millisecond)
			continue
		}
		if !once && format == "" {
			fmt.Fprint(inv.Out, "\x1b[H\x1b[2J") // ECMA-48: the cursor home, erase the page
		}
		if err := cli.List(inv, rows, format, statsTable); err != nil || once {
			return errors.Join(err, broken)
		}
		if broken != nil {
			inv.Warn("%v", broken)
		}
		time.Sleep(every)
	}
}

// chosen are the sandboxes that run and are named, or all. broken is of those of all
// that can't be read.
func chosen(inv *cli.Invocation) (list []state.Record, broken, err error) {
	store, err := state.OpenExisting()
	if err != nil {
		return nil, nil, err
	}
	if len(inv.Args) == 0 {
		list, broken = store.List()
		return list, broken, nil
	}
	for _, word := range inv.Args {
		r, err := store.Find(word)
		if err != nil {
			return nil, nil, err
		}
		if !r.Alive() {
			return nil, nil, sandboxes.NotRunning(&r)
		}
		list = append(list, r)
	}
	return list, nil, nil
}

// measure adds up the processes of a sandbox. ok is false where it has none any
// more.
func measure(r *state.Record, all *processes.Snapshot, last map[string]meter) (u use, ok bool) {
	if !r.Alive() {
		return u, false
	}
	found, err := processesOf(r, all)
	if err != nil {
		return u, false
	}
	now := meter{at: time.Now(), cpu: map[int]uint64{}}
	u = use{ID: r.ID, Name: r.Name}
	before, has := last[r.ID]
	used := uint64(0)
	for _, p := range found {
		now.cpu[p.PID] = p.CPU
		if was, known := before.cpu[p.PID]; known && p.CPU >= was {
			used += p.CPU - was
		} else if has {
			used += p.CPU
		}
		u.Memory += p.RSS
		u.PIDs += p.Threads
		read, written := storage(p.PID)
		u.ReadIO, u.WrittenIO = u.ReadIO+read, u.WrittenIO+written
	}
	if d := now.at.Sub(before.at).Seconds(); has && d > 0 {
		u.CPU = float64(int(float64(used)/ticks/d*1000)) / 10
	}
	u.By = "proc"
	u.Received, u.Sent = traffic(r.Init.PID)
	if g := groupUsage(r, &u); g != nil {
		now.all = g.CPU
		if d := now.at.Sub(before.at).Seconds(); has && d > 0 {
			u.CPU = float64(int(float64(since(g.CPU, before.all))/d/1000)) / 10
		}
	}
	last[r.ID] = now
	return u, true
}

// since is by how much a counter has grown. One that is smaller than before is
// another group's, of the command that was started again, and began at 0.
func since(now, before int64) int64 {
	if now < before {
		return now
	}
	return now - before
}

// storage is what a process has read from and written to storage, proc_pid_io(5).
func storage(pid int) (read, written int64) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/io")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err != nil:
		case key == "read_bytes":
			read = n
		case key == "write_bytes":
			written = n
		}
	}
	return read, written
}

func statsTable(rows []use) [][]string {
	cells := [][]string{{"ID", "NAME", "CPU %", "MEMORY", "LIMIT", "PIDS", "RECEIVED", "SENT", "READ", "WRITTEN", "BY"}}
	for _, u := range rows {
		limit := "none"
		if u.Limit > 0 {
			limit = screen.SizeText(u.Limit)
		}
		cells = append(cells, []string{u.ID, u.Name, fmt.Sprintf("%.1f", u.CPU), screen.SizeText(u.Memory), limit, strconv.Itoa(u.PIDs),
			screen.SizeText(u.Received), screen.SizeText(u.Sent), screen.SizeText(u.ReadIO), screen.SizeText(u.WrittenIO), u.By})
	}
	return cells
}
