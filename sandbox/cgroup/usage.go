package cgroup

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Effective are limits as they are with those of the groups above: Max where
// there is none.
type Effective struct {
	Memory, MemoryHigh, Swap int64 // bytes
	CPU                      int64 // thousandths of a processor
	Pids                     int64
	CPUs                     CPUs // "" where the controller is missing
}

// Effective reads g's limits and those of the groups above it, up to root.
func (g Group) Effective(root string) (Effective, error) {
	e := Effective{Memory: Max, MemoryHigh: Max, Swap: Max, CPU: Max, Pids: Max}
	for _, at := range g.upTo(root) {
		for _, f := range []struct {
			file string
			into *int64
			read func(string) (int64, error)
		}{
			{"memory.max", &e.Memory, orMax}, {"memory.high", &e.MemoryHigh, orMax}, {"memory.swap.max", &e.Swap, orMax},
			{"pids.max", &e.Pids, orMax}, {"cpu.max", &e.CPU, quota},
		} {
			text, err := at.read(f.file)
			if errors.Is(err, unix.ENOENT) { // the root has none, and so has a group without the controller
				continue
			}
			n, err2 := f.read(text)
			if err := errors.Join(err, err2); err != nil {
				return e, err
			}
			*f.into = min(*f.into, n)
		}
	}
	text, err := g.read("cpuset.cpus.effective")
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return e, err
	}
	e.CPUs = CPUs(text)
	return e, nil
}

// orMax reads a number or "max".
func orMax(text string) (int64, error) {
	if text == "max" {
		return Max, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

// quota reads cpu.max, "QUOTA PERIOD", in thousandths of a processor.
func quota(text string) (int64, error) {
	q, p, _ := strings.Cut(text, " ")
	n, err := orMax(q)
	if err != nil || n == Max {
		return n, err
	}
	of, err := strconv.ParseInt(p, 10, 64)
	if err != nil || of <= 0 {
		return 0, errors.New("cpu.max reads " + strconv.Quote(text))
	}
	return n * 1000 / of, nil
}

// Events are how often a group met its limits.
type Events struct {
	MemoryMax int64 `json:"memory_max"` // the limit on memory as it is now, in bytes; 0 for none

	OOM      int64 `json:"oom"`       // times that memory could not be had
	OwnOOM   int64 `json:"own_oom"`   // of those, by the group's own limit and not that of one below or above; 0 before Linux 5.2
	OOMKills int64 `json:"oom_kills"` // processes killed for it, in the group and below
	High     int64 `json:"high"`      // times that memory.high slowed it down
	PidsMax  int64 `json:"pids_max"`  // forks refused
}

// Events reads them. A controller that is missing counts nothing.
func (g Group) Events() (Events, error) {
	var e Events
	text, err := g.read("memory.max")
	switch {
	case err == nil && text != "max":
		if e.MemoryMax, err = strconv.ParseInt(text, 10, 64); err != nil {
			return e, err
		}
	case err != nil && !errors.Is(err, unix.ENOENT):
		return e, err
	}
	for _, f := range []struct {
		file, key string
		into      *int64
	}{
		{"memory.events", "oom", &e.OOM}, {"memory.events", "oom_kill", &e.OOMKills}, {"memory.events.local", "oom", &e.OwnOOM},
		{"memory.events", "high", &e.High}, {"pids.events", "max", &e.PidsMax},
	} {
		n, err := g.number(f.file, f.key)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return e, err
		}
		*f.into = n
	}
	return e, nil
}

// Usage is what a group uses, and has used.
type Usage struct {
	CPU        int64    `json:"cpu_usec"` // microseconds of all its processors
	CPUUser    int64    `json:"cpu_user_usec"`
	CPUSystem  int64    `json:"cpu_system_usec"`
	Throttled  int64    `json:"throttled_usec"` // it was held back by its quota
	Memory     int64    `json:"memory"`         // bytes
	MemoryPeak int64    `json:"memory_peak"`    // bytes, 0 before Linux 5.19
	Swap       int64    `json:"swap"`           // bytes
	Pids       int64    `json:"pids"`
	IORead     int64    `json:"io_read"`  // bytes of all devices
	IOWrite    int64    `json:"io_write"` // bytes
	Pressure   Pressure `json:"pressure"`
}

// Pressure is the share of the last ten seconds in which some process had to
// wait for a resource, in hundredths of a percent: the kernel's
// Documentation/accounting/psi.rst.
type Pressure struct {
	CPU    int64 `json:"cpu"`
	Memory int64 `json:"memory"`
	IO     int64 `json:"io"`
}

// Usage reads it. What the kernel or the group's controllers do not tell is 0.
func (g Group) Usage() (Usage, error) {
	var u Usage
	var errs []error
	get := func(file string) string {
		text, err := g.read(file)
		// EOPNOTSUPP: the kernel was started without pressure.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
			errs = append(errs, err)
		}
		return text
	}
	number := func(into *int64, n int64, err error) {
		*into = n
		errs = append(errs, err)
	}
	cpu := get("cpu.stat")
	for key, into := range map[string]*int64{"usage_usec": &u.CPU, "user_usec": &u.CPUUser, "system_usec": &u.CPUSystem, "throttled_usec": &u.Throttled} {
		n, err := flat(cpu, key)
		number(into, n, err)
	}
	for file, into := range map[string]*int64{"memory.current": &u.Memory, "memory.peak": &u.MemoryPeak, "memory.swap.current": &u.Swap, "pids.current": &u.Pids} {
		if text := get(file); text != "" {
			n, err := orMax(text)
			number(into, n, err)
		}
	}
	for _, f := range strings.Fields(get("io.stat")) {
		for prefix, into := range map[string]*int64{"rbytes=": &u.IORead, "wbytes=": &u.IOWrite} {
			if n, ok := strings.CutPrefix(f, prefix); ok {
				v, err := strconv.ParseInt(n, 10, 64)
				*into += v
				errs = append(errs, err)
			}
		}
	}
	for file, into := range map[string]*int64{"cpu.pressure": &u.Pressure.CPU, "memory.pressure": &u.Pressure.Memory, "io.pressure": &u.Pressure.IO} {
		*into = some(get(file))
	}
	return u, errors.Join(errs...)
}

// some finds avg10 in the line "some avg10=1.25 avg60=..." in hundredths.
func some(text string) int64 {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "avg10=") })
	if i < 0 {
		return 0
	}
	n, err := strconv.ParseInt(strings.Replace(fields[i][len("avg10="):], ".", "", 1), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
