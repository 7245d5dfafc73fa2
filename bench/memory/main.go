// Command memory measures what an idle sandbox costs beside its payload: the PSS of
// the supervisor and the sandbox's first process, with many sandboxes at once.
//
//	memory -n 20
//
// The PSS of a process that is not dumpable can be read by root only. Run as root
// with -user NAME: the sandboxes are started by that account.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sbx-sandbox/sbx/bench/internal/measure"
	"github.com/sbx-sandbox/sbx/bench/internal/rig"
)

func main() {
	var f rig.Flags
	f.Register(flag.CommandLine)
	n := flag.Int("n", 20, "sandboxes at once")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, f, *n, *asJSON); err != nil {
		fmt.Fprintf(os.Stderr, "memory: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, f rig.Flags, n int, asJSON bool) error {
	r, err := rig.Open(f)
	if err != nil {
		return err
	}
	defer r.Close()
	report, err := measure.Memory(ctx, r, n)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "\t")
		return e.Encode(report)
	}
	return report.Text(os.Stdout)
}
