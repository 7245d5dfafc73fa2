// Command all runs every benchmark and prints one table: start-up, throughput and
// memory of sbx, its peers and the bounds, and what a killed sandbox leaves behind.
//
//	all                 about three minutes
//	all -quick          for a look
//	all -write          also docs/BENCHMARKS.md
//	all -user NAME      as root: needed for the memory of processes that are not
//	                    dumpable, and on hosts without pure cgroup v2 for crun and podman
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sbx-sandbox/sbx/bench/internal/measure"
	"github.com/sbx-sandbox/sbx/bench/internal/rig"
)

type options struct {
	rig        rig.Flags
	start      measure.StartOptions
	throughput measure.ThroughputOptions
	orphans    measure.OrphanOptions
	idle       int
	json       bool
	write      string
}

// A report is everything that was measured in one run of the program.
type report struct {
	Machine    machine                  `json:"machine"`
	Versions   []string                 `json:"versions"`
	Notes      map[string]string        `json:"notes"` // what a candidate is, by name
	PureCgroup bool                     `json:"pure_cgroup"`
	Start      measure.StartReport      `json:"start"`
	Throughput measure.ThroughputReport `json:"throughput"`
	Memory     measure.MemoryReport     `json:"memory"`
	Orphans    measure.OrphanReport     `json:"orphans"`
}

var widths = []int{1, 8}

func main() {
	seed := uint64(time.Now().UnixNano())
	o := options{
		start:      measure.StartOptions{Warmup: 10, Seed: seed},
		throughput: measure.ThroughputOptions{Widths: widths, Batch: 120, Rounds: 7},
		orphans:    measure.OrphanOptions{Seed: seed, Windows: []measure.Window{{To: 3 * time.Millisecond}, {To: 8 * time.Millisecond}}},
	}
	o.rig.Register(flag.CommandLine)
	flag.IntVar(&o.start.Rounds, "rounds", 200, "rounds of the start-up measurement")
	flag.StringVar(&o.start.Base, "base", "bwrap", "`name` of the candidate the others are compared with")
	flag.IntVar(&o.idle, "idle", 20, "idle sandboxes at once, for memory")
	flag.IntVar(&o.orphans.Trials, "kills", 200, "kills per candidate and window")
	quick := flag.Bool("quick", false, "few rounds")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	write := flag.Bool("write", false, "write the file named by -out")
	out := flag.String("out", "docs/BENCHMARKS.md", "the `file` -write writes")
	flag.Parse()
	if *quick {
		o.start.Rounds, o.start.Warmup = 40, 3
		o.throughput.Batch, o.throughput.Rounds = 40, 3
		o.orphans.Trials = 50
	}
	if *write {
		o.write = *out
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "all: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	r, err := rig.Open(o.rig)
	if err != nil {
		return err
	}
	defer r.Close()
	rep, err := measureAll(ctx, r, o)
	if err != nil {
		return err
	}
	if o.write != "" {
		if err := rep.write(o.write); err != nil {
			return err
		}
	}
	if o.json {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "\t")
		return e.Encode(rep)
	}
	if err := rep.table().Text(os.Stdout); err != nil {
		return err
	}
	_, err = fmt.Printf("\n%s", rep.legend())
	return err
}

func measureAll(ctx context.Context, r *rig.Rig, o options) (rep report, err error) {
	rep = report{Machine: describe(), PureCgroup: r.PureCgroup, Notes: map[string]string{}}
	for _, c := range r.Candidates {
		rep.Notes[c.Name] = c.Note
	}
	progress("start-up, %d rounds", o.start.Rounds)
	if rep.Start, err = measure.Start(ctx, r, o.start); err != nil {
		return rep, err
	}
	progress("throughput")
	o.throughput.Base = o.start.Base
	if rep.Throughput, err = measure.Throughput(ctx, r, o.throughput); err != nil {
		return rep, err
	}
	progress("memory")
	if rep.Memory, err = measure.Memory(ctx, r, o.idle); err != nil {
		return rep, err
	}
	progress("orphans")
	if rep.Orphans, err = measure.Orphans(ctx, r, o.orphans); err != nil {
		return rep, err
	}
	rep.Versions = r.Versions()
	return rep, nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "measuring "+format+"\n", args...)
}
