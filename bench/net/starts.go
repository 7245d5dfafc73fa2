package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// started is how long a sandbox took, in ms: until its command's first instruction,
// and until its command had the first answer from the network; 0 where there is none.
type started struct {
	Way         string
	Lost        string
	Instruction float64
	Answer      float64
}

// startWays are the ways to start all of a sandbox.
var startWays = []struct {
	name    string
	network string // of the profile, "" for not by sbx
	alone   []string
}{
	{"sbx, no network", `mode = "none"`, nil},
	{"sbx, engine", by("engine"), nil},
	{"sbx, slirp4netns", by("slirp4netns"), nil},
	{"sbx, pasta", by("pasta"), nil},
	{"pasta alone", "", []string{"pasta", "-q", "--config-net", "-i", "eth0", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none", "--"}},
	{"no sandbox", "", []string{}},
}

func by(backend string) string {
	return "mode = \"user\"\nbackend = \"" + backend + "\"\nallow = [\"@host\", \"@internet\"]"
}

// starts has every way start a few times. The commands lie in a project of their own,
// and beside it the profiles, which are then the user's own.
func starts(o options) ([]started, error) {
	dir, err := os.MkdirTemp("", "bench-net-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	project := filepath.Join(dir, "project")
	if err := os.Mkdir(project, 0o755); err != nil {
		return nil, err
	}
	for name, from := range map[string]string{"once": self, "mark": filepath.Join(filepath.Dir(self), "mark0")} {
		if err := copyProgram(from, filepath.Join(project, name)); err != nil {
			return nil, err
		}
	}
	var list []started
	for i := range o.Starts {
		for n := range startWays {
			w := startWays[(n+i)%len(startWays)]
			argv := w.alone
			if w.network != "" {
				profile := filepath.Join(dir, strconv.Itoa(n)+".toml")
				if err := os.WriteFile(profile, []byte("version = 1\n[network]\n"+w.network+"\n"), 0o644); err != nil {
					return nil, err
				}
				argv = []string{o.Sbx, "run", "-q", profile, "--"}
			}
			r := started{Way: w.name}
			mute := w.name == "sbx, no network" || o.IPv6 && w.name == "sbx, slirp4netns" // sbx gives that IPv4 only
			if r.Instruction, err = untilByte(project, append(argv, "./mark")); err == nil && !mute {
				r.Answer, err = untilByte(project, append(argv, "./once", "once", net.JoinHostPort(server(i, o.IPv6), echo)))
			}
			if err != nil {
				r.Lost = err.Error()
				fmt.Fprintf(os.Stderr, "start %d, %s: %v\n", i+1, w.name, err)
			}
			list = append(list, r)
		}
	}
	return list, nil
}

func copyProgram(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// untilByte is how many ms pass until a command writes its first byte.
func untilByte(dir string, argv []string) (float64, error) {
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir = dir
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := c.Start(); err != nil {
		return 0, err
	}
	var b [1]byte
	_, err = io.ReadFull(out, b[:])
	took := time.Since(began)
	if werr := c.Wait(); err != nil || werr != nil {
		return 0, errors.Join(err, werr, errors.New(strings.TrimSpace(said.String())))
	}
	return float64(took.Microseconds()) / 1000, nil
}

// once writes a byte when it has an answer.
func once(at string) error {
	if _, err := first([]string{at}); err != nil {
		return err
	}
	_, err := os.Stdout.Write([]byte("."))
	return err
}

// printStarts writes medians with their ranges, and what they are to those of the
// same sandbox without a network and of slirp4netns.
func printStarts(out io.Writer, all []started) {
	fmt.Fprint(out, "\n| start | first instruction ms | ÷ no network | first answer ms | ÷ slirp4netns |\n|---|---|---|---|---|\n")
	of := func(way string, figure func(started) float64) []float64 {
		var list []float64
		for _, r := range all {
			if r.Way == way && r.Lost == "" && figure(r) > 0 {
				list = append(list, figure(r))
			}
		}
		return sorted(list)
	}
	instruction := func(r started) float64 { return r.Instruction }
	answer := func(r started) float64 { return r.Answer }
	for _, w := range startWays {
		fmt.Fprintf(out, "| %s |", w.name)
		for _, c := range []struct {
			figure func(started) float64
			base   string
		}{{instruction, "sbx, no network"}, {answer, "sbx, slirp4netns"}} {
			list, base := of(w.name, c.figure), of(c.base, c.figure)
			switch {
			case len(list) == 0:
				fmt.Fprint(out, " – | – |")
			case len(base) == 0:
				fmt.Fprintf(out, " %.3g [%.3g–%.3g] | – |", median(list), list[0], list[len(list)-1])
			default:
				fmt.Fprintf(out, " %.3g [%.3g–%.3g] | %.2f |", median(list), list[0], list[len(list)-1], median(list)/median(base))
			}
		}
		fmt.Fprintln(out)
	}
}
