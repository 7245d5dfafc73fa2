// Command pair runs candidates against each other, interleaved in random order, and
// compares their start-up, or with -throughput how many finish per second.
//
//	pair -rounds 200 -base bwrap
//	pair -only "sbx equal,bwrap,floor" -max "sbx equal=0.9"
//	pair -candidates mine.json -json
//	pair -throughput -widths 1,8
//
// A candidates file is a JSON list of {"name", "requires", "argv", "in", "share",
// "version", "note"}: see internal/rig/standard.json for the built-in one.
//
// The exit status is 1 if a -max was missed: if the whole confidence interval of the
// ratio lies above it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sbx-sandbox/sbx/bench/internal/measure"
	"github.com/sbx-sandbox/sbx/bench/internal/rig"
)

type options struct {
	rig        rig.Flags
	start      measure.StartOptions
	throughput measure.ThroughputOptions
	perSecond  bool
	json       bool
	limits     limits
}

func main() {
	var o options
	o.rig.Register(flag.CommandLine)
	flag.IntVar(&o.start.Rounds, "rounds", 200, "rounds that count")
	flag.IntVar(&o.start.Warmup, "warmup", 10, "rounds before them")
	flag.StringVar(&o.start.Base, "base", "bwrap", "`name` of the candidate the others are compared with")
	flag.Uint64Var(&o.start.Seed, "seed", uint64(time.Now().UnixNano()), "seed of the random order")
	flag.BoolVar(&o.perSecond, "throughput", false, "measure sandboxes per second instead")
	flag.IntVar(&o.throughput.Batch, "batch", 120, "with -throughput: sandboxes per batch")
	flag.IntVar(&o.throughput.Rounds, "batches", 7, "with -throughput: batches per candidate and width")
	widths := flag.String("widths", "1,8", "with -throughput: how many at once, a list")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.Var(&o.limits, "max", "`NAME=RATIO` a ratio of medians that must not be exceeded; may be repeated")
	flag.Parse()
	for w := range strings.SplitSeq(*widths, ",") {
		n, err := strconv.Atoi(w)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "pair: -widths %q: want numbers\n", *widths)
			os.Exit(2)
		}
		o.throughput.Widths = append(o.throughput.Widths, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "pair: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	r, err := rig.Open(o.rig)
	if err != nil {
		return err
	}
	defer r.Close()
	var report interface{ Text(io.Writer) error }
	var missed error
	if o.perSecond {
		o.throughput.Base = o.start.Base
		report, err = measure.Throughput(ctx, r, o.throughput)
	} else {
		var s measure.StartReport
		s, err = measure.Start(ctx, r, o.start)
		report, missed = s, o.limits.check(s)
		if base, _ := s.Row(s.Base); err == nil && base.Runs == 0 {
			fmt.Fprintf(os.Stderr, "pair: no ratios: the base %q was not measured\n", s.Base)
		}
	}
	if err != nil {
		return err
	}
	if o.json {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "\t")
		err = e.Encode(report)
	} else {
		err = report.Text(os.Stdout)
	}
	if err != nil {
		return err
	}
	return missed
}

// limits are the values of -max.
type limits map[string]float64

func (l *limits) String() string { return "" }

func (l *limits) Set(text string) error {
	name, value, _ := strings.Cut(text, "=")
	ratio, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return fmt.Errorf("want NAME=RATIO")
	}
	if *l == nil {
		*l = limits{}
	}
	(*l)[name] = ratio
	return nil
}

// check returns an error that names every limit that was missed.
func (l limits) check(s measure.StartReport) error {
	var missed []string
	for name, limit := range l {
		row, ok := s.Row(name)
		switch {
		case !ok || row.NotRun != "" || row.Ratio.Value == 0:
			missed = append(missed, fmt.Sprintf("%s was not measured", name))
		case row.Ratio.Low > limit:
			missed = append(missed, fmt.Sprintf("%s is %s × %s (at least %s), the limit is %s",
				name, measure.Times(row.Ratio.Value), s.Base, measure.Times(row.Ratio.Low), measure.Times(limit)))
		}
	}
	if missed == nil {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(missed, "; "))
}
