package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/profiles"
)

func profileInitCommand() command {
	return command{
		name: "profile init", args: "[FLAGS] [KIND]", summary: "write a commented .sbx.toml to start from",
		long: "Write a profile for this directory's project to .sbx.toml. KIND is the built-in profile that it builds on, by default build. " +
			"A file that is there is left alone.",
		example: "sbx profile init\nsbx profile init go\nsbx profile init --stdout strict",
		words: func(args []string) []candidate {
			if len(args) > 0 {
				return nil
			}
			return builtinNames()
		},
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			stdout, file := false, ".sbx.toml"
			addSwitch(fs, &stdout, "stdout", "", gOutput, "print it and write nothing")
			add(fs, flagSpec{name: "output", short: "o", arg: "FILE", group: gOutput, usage: "write to this file instead", words: []string{"@file"},
				set: func(s string) error { file = s; return nil }})
			return func(inv *invocation) error {
				if err := inv.max(1); err != nil {
					return err
				}
				return inv.initProfile(file, stdout)
			}
		},
	}
}

func (inv *invocation) initProfile(file string, stdout bool) error {
	text, err := profiles.Init(strings.Join(inv.args, ""))
	if err != nil {
		return usageError{err}
	}
	if stdout {
		_, err = inv.out.Write(text)
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
	if inv.asksForMore(file) {
		next = "; it asks for more than your own profile: when it is as you want it, run sbx trust"
		if file != ".sbx.toml" {
			next += " " + file
		}
	}
	_, err = fmt.Fprintf(inv.out, "wrote %s%s\n", file, next)
	return err
}

// asksForMore says whether run will want trust for a profile just written.
func (inv *invocation) asksForMore(file string) bool {
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
