// Command net measures user-mode networks side by side: the engine of sbx-net,
// slirp4netns, pasta, rootlesskit, and no network between at all: what goes out of a
// sandbox, what comes in by ports that the host offers, and how long a sandbox takes
// to start. Each round runs every one of them in turn, in network namespaces of the
// command's own, so that what the machine does meanwhile hits all alike; what counts
// are the ratios. Published ports are on the caller's own loopback, since rootlesskit
// takes the subordinate ids that only it has.
//
//	bench/net -sbx-net bin/sbx-net -sbx bin/sbx [-rounds 5] [-time 1s] [-starts 30] [-6] [-write]
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/bench/internal/section"
)

// options are those of the command line; they go to the other processes as JSON.
type options struct {
	SbxNet      string
	Sbx         string
	Rootlesskit string
	Rounds      int
	Starts      int
	Time        time.Duration // of each measurement of throughput
	IPv6        bool
	Write       bool
}

func main() {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "inside":
		err = inside()
	case len(os.Args) > 2 && os.Args[1] == "host":
		err = host(os.Args[2])
	case len(os.Args) > 2 && os.Args[1] == "once":
		err = once(os.Args[2])
	default:
		err = start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/net:", err)
		os.Exit(1)
	}
}

// start runs host in namespaces of its own and prints what it measured.
func start() error {
	var o options
	flag.StringVar(&o.SbxNet, "sbx-net", "bin/sbx-net", "the engine's program")
	flag.StringVar(&o.Sbx, "sbx", "bin/sbx", "sbx")
	flag.StringVar(&o.Rootlesskit, "rootlesskit", "rootlesskit", "rootlesskit, where there is one")
	flag.IntVar(&o.Rounds, "rounds", 5, "rounds")
	flag.IntVar(&o.Starts, "starts", 30, "how often each way starts a sandbox")
	flag.DurationVar(&o.Time, "time", time.Second, "of each measurement of throughput")
	flag.BoolVar(&o.IPv6, "6", false, "by IPv6")
	flag.BoolVar(&o.Write, "write", false, "also to docs/BENCHMARKS.md")
	flag.Parse()
	for _, path := range []*string{&o.SbxNet, &o.Sbx} {
		full, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = full
	}
	config, err := json.Marshal(o)
	if err != nil {
		return err
	}
	c := exec.Command("/proc/self/exe", "host", string(config))
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		Pdeathsig:   syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN},
	}
	out, err := c.Output()
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(out, &r); err != nil {
		return err
	}
	var text strings.Builder
	report(&text, o, r)
	if o.Write {
		heading := section.Networks
		if o.IPv6 {
			heading += " by IPv6"
		}
		if err := section.Replace("docs/BENCHMARKS.md", heading, text.String()); err != nil {
			return err
		}
	}
	_, err = fmt.Print(text.String())
	return err
}

// report has the published ports measured as well.
func report(w io.Writer, o options, r results) {
	flags := "-write"
	if o.IPv6 {
		flags = "'-6 -write'"
	}
	fmt.Fprintf(w, "Written by `make bench-net BENCHFLAGS=%s`: medians of %d rounds and %d starts, with their ranges.\n\n", flags, o.Rounds, o.Starts)
	var names, doorNames []string
	for _, way := range ways {
		names = append(names, way.name)
	}
	print(w, "out of a sandbox", names, r.Ways)
	if !o.IPv6 { // pasta and slirp4netns publish on addresses of IPv4
		for _, d := range doors {
			doorNames = append(doorNames, d.name)
		}
		fmt.Fprintln(w)
		print(w, "published, into it", doorNames, publish(o))
	}
	printStarts(w, r.Starts)
}

// results are what was measured in the namespaces.
type results struct {
	Ways   []round
	Starts []started
}

// round is what one way measured in one round.
type round struct {
	Way  string
	Lost string // why it could not be measured
	measured
}

// measured are the figures.
type measured struct {
	TX, RX  float64 // Gbit/s, out of the sandbox and into it
	RTT     float64 // µs
	Connect float64 // a second
	First   float64 // ms, until the first answer came after the helper was started
	CPU     float64 // s of the helper per GB
	RSS     float64 // MB at most, of the helper
}

var columns = []struct {
	name string
	of   func(measured) float64
}{
	{"TX Gbit/s", func(m measured) float64 { return m.TX }},
	{"RX Gbit/s", func(m measured) float64 { return m.RX }},
	{"RTT µs", func(m measured) float64 { return m.RTT }},
	{"connects/s", func(m measured) float64 { return m.Connect }},
	{"first answer ms", func(m measured) float64 { return m.First }},
	{"CPU s/GB", func(m measured) float64 { return m.CPU }},
	{"RSS MB", func(m measured) float64 { return m.RSS }},
}

// print writes medians with their ranges, and the ratios to slirp4netns.
func print(w io.Writer, title string, names []string, rounds []round) {
	fmt.Fprintf(w, "| %s |", title)
	for _, c := range columns {
		fmt.Fprintf(w, " %s |", c.name)
	}
	fmt.Fprint(w, "\n|---|")
	for range columns {
		fmt.Fprint(w, "---|")
	}
	fmt.Fprintln(w)
	for _, name := range names {
		values := of(rounds, name)
		if len(values) == 0 {
			for _, r := range rounds {
				if r.Way == name && r.Lost != "" {
					fmt.Fprintf(w, "| %s | not measured: %s |\n", name, r.Lost)
					break
				}
			}
			continue
		}
		fmt.Fprintf(w, "| %s |", name)
		for _, c := range columns {
			list := column(values, c.of)
			fmt.Fprintf(w, " %.3g [%.3g–%.3g] |", median(list), list[0], list[len(list)-1])
		}
		fmt.Fprintln(w)
	}
	base := of(rounds, "slirp4netns")
	if len(base) == 0 {
		return
	}
	fmt.Fprintln(w)
	for _, name := range names {
		values := of(rounds, name)
		if name == "slirp4netns" || len(values) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s ÷ slirp4netns:", name)
		for i, c := range columns {
			if i > 0 {
				fmt.Fprint(w, ",")
			}
			fmt.Fprintf(w, " %s %.2f", c.name, median(column(values, c.of))/median(column(base, c.of)))
		}
		fmt.Fprintln(w)
	}
}

func of(rounds []round, way string) []measured {
	var list []measured
	for _, r := range rounds {
		if r.Way == way && r.Lost == "" {
			list = append(list, r.measured)
		}
	}
	return list
}

func column(values []measured, of func(measured) float64) []float64 {
	var list []float64
	for _, v := range values {
		list = append(list, of(v))
	}
	return sorted(list)
}

func sorted(list []float64) []float64 {
	slices.Sort(list)
	return list
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }
