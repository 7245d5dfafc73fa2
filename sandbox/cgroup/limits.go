// Package cgroup is control groups of version 2: limits as data, as the
// contents of the kernel's files and as properties of systemd, and what a
// group's files say. See cgroups(7) and the kernel's
// Documentation/admin-guide/cgroup-v2.rst. It knows neither profiles nor D-Bus.
package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Limits bounds what all processes of a group may use together. The zero value
// of a field sets nothing.
type Limits struct {
	MemoryMax  int64 `json:"memory_max,omitempty"`  // bytes; beyond it the kernel kills
	MemoryHigh int64 `json:"memory_high,omitempty"` // bytes; beyond it the kernel slows the group down and reclaims
	SwapMax    int64 `json:"swap_max,omitempty"`    // bytes beside the memory; None for no swap at all
	CPUMax     int64 `json:"cpu_max,omitempty"`     // thousandths of one processor, at least MinCPU
	CPUWeight  int64 `json:"cpu_weight,omitempty"`  // 1 to 10000; a group without has 100
	CPUs       CPUs  `json:"cpus,omitempty"`        // the processors it may run on
	PidsMax    int64 `json:"pids_max,omitempty"`    // processes and threads
	IO         []IO  `json:"io,omitempty"`          // by device
	OOMGroup   bool  `json:"oom_group,omitempty"`   // out of memory, all processes are killed at once
}

// None is an amount of nothing, where 0 means that no limit is set.
const None = -1

// MinCPU is the smallest quota, in thousandths of a processor: the kernel
// refuses less than a millisecond in the period of 100 (sched-bwc.rst).
const MinCPU = 10

// period is what cpu.max counts in, in microseconds: the kernel's default.
const period = 100000

// IO is what may be moved to and from one block device. 0 is no limit.
type IO struct {
	Path      string `json:"path"`             // of the device, or of a file on it
	Device    string `json:"device,omitempty"` // "MAJOR:MINOR" of the whole device
	ReadBPS   uint64 `json:"read_bps,omitempty"`
	WriteBPS  uint64 `json:"write_bps,omitempty"`
	ReadIOPS  uint64 `json:"read_iops,omitempty"`
	WriteIOPS uint64 `json:"write_iops,omitempty"`
}

// Validate reports every value that the kernel would refuse or read otherwise.
func (l *Limits) Validate() error {
	var errs []error
	for _, f := range []struct {
		name      string
		n         int64
		low, high int64
	}{
		{"memory_max", l.MemoryMax, 1, Max}, {"memory_high", l.MemoryHigh, 1, Max}, {"swap_max", l.SwapMax, 1, Max},
		{"cpu_max", l.CPUMax, MinCPU, maxCPU * 1000}, {"cpu_weight", l.CPUWeight, 1, 10000},
		{"pids_max", l.PidsMax, 1, 1 << 22},
	} {
		if f.n != 0 && (f.n < f.low || f.n > f.high) && (f.n != None || f.name != "swap_max") {
			errs = append(errs, fmt.Errorf("%s of %d", f.name, f.n))
		}
	}
	if l.CPUs != "" {
		_, err := l.CPUs.list()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Empty says that l limits nothing.
func (l *Limits) Empty() bool { return len(l.Controllers()) == 0 }

// Controllers are those that l takes, in the kernel's order.
func (l *Limits) Controllers() []string {
	var list []string
	for _, c := range []struct {
		name string
		used bool
	}{
		{"cpuset", l.CPUs != ""},
		{"cpu", l.CPUMax != 0 || l.CPUWeight != 0},
		{"io", len(l.IO) > 0},
		{"memory", l.MemoryMax != 0 || l.MemoryHigh != 0 || l.SwapMax != 0},
		{"pids", l.PidsMax != 0},
	} {
		if c.used {
			list = append(list, c.name)
		}
	}
	return list
}

// Only returns l without what takes another controller than those of have.
func (l Limits) Only(have []string) Limits {
	if !slices.Contains(have, "cpuset") {
		l.CPUs = ""
	}
	if !slices.Contains(have, "cpu") {
		l.CPUMax, l.CPUWeight = 0, 0
	}
	if !slices.Contains(have, "io") {
		l.IO = nil
	}
	if !slices.Contains(have, "memory") {
		l.MemoryMax, l.MemoryHigh, l.SwapMax, l.OOMGroup = 0, 0, 0, false
	}
	if !slices.Contains(have, "pids") {
		l.PidsMax = 0
	}
	return l
}

// Setting is one line of one file of a group.
type Setting struct{ File, Value string }

// Settings are the files of a group and what is written to them, in an order in
// which no value is refused because of a later one.
func (l *Limits) Settings() []Setting {
	var list []Setting
	add := func(file string, n int64) {
		switch {
		case n == None:
			list = append(list, Setting{file, "0"})
		case n != 0:
			list = append(list, Setting{file, strconv.FormatInt(n, 10)})
		}
	}
	if l.CPUs != "" {
		list = append(list, Setting{"cpuset.cpus", string(l.CPUs)})
	}
	if l.CPUMax != 0 {
		list = append(list, Setting{"cpu.max", fmt.Sprintf("%d %d", l.CPUMax*period/1000, period)})
	}
	add("cpu.weight", l.CPUWeight)
	for _, io := range l.IO {
		list = append(list, Setting{"io.max", io.Device + io.rates()})
	}
	add("memory.high", l.MemoryHigh)
	add("memory.max", l.MemoryMax)
	add("memory.swap.max", l.SwapMax)
	add("pids.max", l.PidsMax)
	return list
}

// rates is the part of a line of io.max after the device.
func (io IO) rates() string {
	var b strings.Builder
	for _, r := range []struct {
		name string
		n    uint64
	}{{"rbps", io.ReadBPS}, {"wbps", io.WriteBPS}, {"riops", io.ReadIOPS}, {"wiops", io.WriteIOPS}} {
		if r.n != 0 {
			fmt.Fprintf(&b, " %s=%d", r.name, r.n)
		}
	}
	return b.String()
}

// holds compares a file's contents with what was set. The kernel rounds sizes
// down to pages, writes lists of processors its own way and shows every rate of
// a device.
func (s Setting) holds(text string) bool {
	text = strings.TrimSpace(text)
	switch s.File {
	case "memory.max", "memory.high", "memory.swap.max":
		want, err := strconv.ParseInt(s.Value, 10, 64)
		have, err2 := strconv.ParseInt(text, 10, 64)
		page := int64(os.Getpagesize())
		return err == nil && err2 == nil && have == want/page*page
	case "cpuset.cpus":
		want, err := CPUs(s.Value).list()
		have, err2 := CPUs(text).list()
		return err == nil && err2 == nil && slices.Equal(want, have)
	case "io.max":
		want := strings.Fields(s.Value)
		for line := range strings.Lines(text) {
			have := strings.Fields(line)
			if len(have) > 0 && have[0] == want[0] {
				return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(have, w) })
			}
		}
		return false
	}
	return text == s.Value
}

// CPUs is a list of processors as the kernel writes it: "0-3,8" (cpuset(7),
// "List format").
type CPUs string

// maxCPU bounds the numbers of processors: the kernel's largest NR_CPUS.
const maxCPU = 8191

// list returns the numbers, sorted, each once.
func (c CPUs) list() ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(string(c), ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 32)
		to, err2 := strconv.ParseUint(last, 10, 32)
		if err != nil || err2 != nil || from > to || to > maxCPU {
			return nil, fmt.Errorf("%q is no list of processors such as \"0-3,8\"", string(c))
		}
		for n := from; n <= to; n++ {
			out = append(out, int(n))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// List returns the processors' numbers, sorted, each once. An error says that c
// is no such list.
func (c CPUs) List() ([]int, error) { return c.list() }

// Mask returns c as a mask, processor 0 in the lowest bit of the first byte: as
// systemd's AllowedCPUs and sched_setaffinity(2) on a little-endian machine take
// it.
func (c CPUs) Mask() ([]byte, error) {
	list, err := c.list()
	if err != nil {
		return nil, err
	}
	mask := make([]byte, list[len(list)-1]/8+1)
	for _, n := range list {
		mask[n/8] |= 1 << (n % 8)
	}
	return mask, nil
}

// Max is what "max" in a file of a group is read as.
const Max = math.MaxInt64
