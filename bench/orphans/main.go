// Command orphans is the orphan gate: it starts a candidate again and again, kills the
// process it started with SIGKILL at a random moment, and counts what is left after a
// second.
//
//	orphans -n 1000 -only "sbx equal,sbx build" -gate
//
// It signals only its own children: it is a subreaper, so what a killed process leaves
// becomes its child. With -gate the exit status is 1 if anything was left.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sbx-sandbox/sbx/bench/internal/measure"
	"github.com/sbx-sandbox/sbx/bench/internal/rig"
)

type options struct {
	rig     rig.Flags
	orphans measure.OrphanOptions
	json    bool
	gate    bool
}

func main() {
	var o options
	o.rig.Register(flag.CommandLine)
	flag.IntVar(&o.orphans.Trials, "n", 200, "kills per candidate and window")
	windows := flag.String("window", "0ms-3ms,0ms-8ms,8ms-60ms", "when to kill: a list of `FROM-TO` after the start")
	flag.Uint64Var(&o.orphans.Seed, "seed", uint64(time.Now().UnixNano()), "seed of the moments")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.BoolVar(&o.gate, "gate", false, "fail if anything was left or a candidate could not run")
	flag.Parse()
	for text := range strings.SplitSeq(*windows, ",") {
		w, err := measure.ParseWindow(text)
		if err != nil {
			fmt.Fprintf(os.Stderr, "orphans: %v\n", err)
			os.Exit(2)
		}
		o.orphans.Windows = append(o.orphans.Windows, w)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "orphans: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	r, err := rig.Open(o.rig)
	if err != nil {
		return err
	}
	defer r.Close()
	report, err := measure.Orphans(ctx, r, o.orphans)
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
	if err != nil || !o.gate {
		return err
	}
	for _, row := range report.Rows {
		switch {
		case row.NotRun != "":
			err = errors.Join(err, fmt.Errorf("%s not run: %s", row.Name, row.NotRun))
		case row.Trials == 0:
			err = errors.Join(err, fmt.Errorf("%s ended by itself every time", row.Name))
		case row.Sandboxes > 0:
			err = errors.Join(err, fmt.Errorf("%s left %d of %d sandboxes within %v", row.Name, row.Sandboxes, row.Trials, row.Window))
		}
	}
	return err
}
