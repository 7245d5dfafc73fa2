package catalogue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/profiles"
)

// InitCommand is the verb profile init.
func InitCommand() cli.Command {
	return cli.Command{
		Name: "profile init", Args: "[FLAGS] [KIND]", Summary: "write a commented .sbx.toml to start from",
		Long: "Write a profile for this directory's project to .sbx.toml. KIND is the built-in profile that it builds on, by default build. " +
			"A file that is there is left alone.",
		Example: "sbx profile init\nsbx profile init go\nsbx profile init --stdout strict",
		Words: func(args []string) []cli.Candidate {
			if len(args) > 0 {
				return nil
			}
			return cli.BuiltinNames()
		},
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			stdout, file := false, ".sbx.toml"
			cli.AddSwitch(fs, &stdout, "stdout", "", cli.GroupOutput, "print it and write nothing")
			cli.AddFlag(fs, cli.Flag{Name: "output", Short: "o", Arg: "FILE", Group: cli.GroupOutput, Usage: "write to this file instead", Words: []string{"@file"},
				Set: func(s string) error { file = s; return nil }})
			return func(inv *cli.Invocation) error {
				if err := inv.Max(1); err != nil {
					return err
				}
				return initProfile(inv, file, stdout)
			}
		},
	}
}

func initProfile(inv *cli.Invocation, file string, stdout bool) error {
	text, err := profiles.Init(strings.Join(inv.Args, ""))
	if err != nil {
		return cli.WrongUsage(err)
	}
	if stdout {
		_, err = inv.Out.Write(text)
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already; remove it, or print a new one with --stdout", file)
	}
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		os.Remove(file)
		return err
	}
	next := ""
	if asksForMore(inv, file) {
		next = "; it asks for more than your own profile: when it is as you want it, run sbx trust"
		if file != ".sbx.toml" {
			next += " " + file
		}
	}
	_, err = fmt.Fprintf(inv.Out, "wrote %s%s\n", file, next)
	return err
}

// asksForMore says whether run will want trust for a profile just written.
func asksForMore(inv *cli.Invocation, file string) bool {
	env := profiles.HostEnv()
	path, err := filepath.Abs(file)
	if err != nil {
		return false
	}
	p, err := profiles.Load(profiles.Ref{Path: path}, env)
	if err != nil || len(p.ProjectFiles()) == 0 {
		return false
	}
	base, err := profiles.Base(p, env)
	return err == nil && len(p.Widens(base)) > 0
}
