// Command wrap measures what a wrapped program costs: the program as it is, the
// same by its shim and by sbx run, and the same sandbox with nothing in it, one
// after the other in each round, in an order that changes.
//
//	go run ./bench/wrap -sbx bin/sbx -rounds 40
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	sbx := flag.String("sbx", "bin/sbx", "the sbx that is measured")
	rounds := flag.Int("rounds", 40, "rounds that count")
	flag.Parse()
	if err := run(*sbx, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "wrap:", err)
		os.Exit(1)
	}
}

// candidate is one way to run a program.
type candidate struct {
	name  string
	path  string // PATH
	argv  []string
	times []time.Duration
}

func run(sbx string, rounds int) error {
	sbx, err := filepath.Abs(sbx)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "sbx-wrap-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	project := filepath.Join(tmp, "project")
	if err := os.Mkdir(project, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(project+"/Makefile", []byte("all:\n\t@true\n"), 0o644); err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "XDG_") || strings.HasPrefix(kv, "HOME=") })
	env = append(env, "HOME="+tmp)
	for _, m := range []struct{ program, profile, arg string }{{"npm", "node", "--version"}, {"make", "make", "-n"}} {
		plain, err := exec.LookPath(m.program)
		if err != nil {
			fmt.Fprintf(os.Stderr, "wrap: %s is not measured: %v\n", m.program, err)
			continue
		}
		install := exec.Command(sbx, "wrap", "install", m.program)
		install.Env, install.Stderr = env, os.Stderr
		if err := install.Run(); err != nil {
			return fmt.Errorf("wrapping %s: %w", m.program, err)
		}
		path := os.Getenv("PATH")
		list := []*candidate{
			{name: "as it is", path: path, argv: []string{plain, m.arg}},
			{name: "wrapped", path: tmp + "/.local/share/sbx/shims:" + path, argv: []string{tmp + "/.local/share/sbx/shims/" + m.program, m.arg}},
			{name: "sbx run", path: path, argv: []string{sbx, "run", m.profile, "--", m.program, m.arg}},
			{name: "sbx run true", path: path, argv: []string{sbx, "run", m.profile, "--", "true"}},
		}
		for range rounds + 3 {
			for _, i := range rand.Perm(len(list)) {
				if err := list[i].once(project, env); err != nil {
					return err
				}
			}
		}
		report(m.program+" "+m.arg, list)
	}
	return nil
}

// once runs a candidate and notes how long it took.
func (c *candidate) once(dir string, env []string) error {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(slices.Clone(env), "PATH="+c.path)
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", c.name, err, out)
	}
	c.times = append(c.times, time.Since(start))
	return nil
}

// report prints medians, and what the shim adds in starts of sbx.
func report(what string, list []*candidate) {
	medians := make([]float64, len(list))
	fmt.Println(what)
	for i, c := range list {
		times := c.times[3:] // the first ones fill caches
		slices.Sort(times)
		medians[i] = float64(times[len(times)/2].Microseconds()) / 1000
		fmt.Printf("  %-14s %8.2f ms  %5.2f x\n", c.name, medians[i], medians[i]/medians[0])
	}
	fmt.Printf("  the shim adds %.2f ms; a start of the sandbox and sbx is %.2f ms\n", medians[1]-medians[0], medians[3])
}
