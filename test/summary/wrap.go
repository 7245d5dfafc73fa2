package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// wrap runs argv and writes its course to w as the test name of the package
// "checks". That the command fails is an event, not an error.
func wrap(w io.Writer, name string, argv []string) error {
	if len(argv) == 0 {
		return fmt.Errorf("no command for %s", name)
	}
	enc := json.NewEncoder(w)
	e := event{Action: "run", Package: "checks", Test: name}
	if err := enc.Encode(e); err != nil {
		return err
	}
	began := time.Now()
	failed := follow(enc, e, argv)
	end := e
	end.Action = "pass"
	if failed != nil {
		out := e
		out.Action, out.Output = "output", failed.Error()+"\n"
		if err := enc.Encode(out); err != nil {
			return err
		}
		end.Action = "fail"
	}
	end.Elapsed = time.Since(began).Seconds()
	return enc.Encode(end)
}

// follow runs argv and turns each line it prints into an event.
func follow(enc *json.Encoder, e event, argv []string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	e.Action = "output"
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if line != "" {
			e.Output = line
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		if err != nil {
			break
		}
	}
	return cmd.Wait()
}
