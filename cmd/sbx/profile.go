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

func profileLsCommand() command {
	return command{
		name: "profile ls", args: "[FLAGS]", summary: "list the profiles that a name can mean",
		long:    "List your profiles, the administrator's and the built-in ones. Of a name that is there twice, the one that is used.",
		example: "sbx profile ls\nsbx profile ls --format=json",
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			format := "text"
			addWord(fs, &format, "format", "FORM", gOutput, "text or json", "text", "json")
			return func(inv *invocation) error {
				if err := inv.max(0); err != nil {
					return err
				}
				return inv.listProfiles(format == "json")
			}
		},
	}
}

// profileInfo is one line of `sbx profile ls --format=json`.
type profileInfo struct {
	Name        string `json:"name"`
	From        string `json:"from"` // a file, or "builtin:NAME"
	Description string `json:"description"`
}

func (inv *invocation) listProfiles(asJSON bool) error {
	list := []profileInfo{}
	for _, i := range profiles.List(profiles.HostEnv()) {
		list = append(list, profileInfo{i.Name, i.Ref.String(), i.Description})
	}
	if asJSON {
		return inv.printJSON(struct {
			Schema   int           `json:"schema"`
			Profiles []profileInfo `json:"profiles"`
		}{1, list})
	}
	for _, p := range list {
		if strings.HasPrefix(p.From, "builtin:") {
			p.From = "built-in"
		}
		fmt.Fprintf(inv.out, "%-12s %-10s %s\n", p.Name, near(p.From), printable(p.Description))
	}
	return nil
}

func profileShowCommand() command {
	return command{
		name: "profile show", args: "[FLAGS] [PROFILE]", summary: "print a profile",
		long: "Print the text of a profile; with --resolved what it comes to after everything it extends was merged, " +
			"with the file and line of each value.",
		example: "sbx profile show build\nsbx profile show --resolved",
		words:   firstProfile,
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			resolved := false
			addSwitch(fs, &resolved, "resolved", "r", gOutput, "merged, with the origin of each value")
			return func(inv *invocation) error {
				if err := inv.max(1); err != nil {
					return err
				}
				return inv.showProfile(resolved)
			}
		},
	}
}

func (inv *invocation) showProfile(resolved bool) error {
	p, err := inv.load(strings.Join(inv.args, ""))
	if err != nil {
		return err
	}
	text := p.TOML()
	if !resolved {
		file := p.Files[len(p.Files)-1]
		if name, ok := strings.CutPrefix(file, "builtin:"); ok {
			source, _ := profiles.Source(name)
			text = []byte(source)
		} else if file == "-" {
			return usagef("standard input can only be shown with --resolved")
		} else if text, err = os.ReadFile(file); err != nil {
			return err
		}
	}
	_, err = inv.out.Write(text)
	return err
}

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
	_, err = fmt.Fprintf(inv.out, "wrote %s\n", file)
	return err
}

func profileCheckCommand() command {
	return command{
		name: "profile check", args: "[FLAGS] [PROFILE...]", summary: "check profiles and name every mistake",
		long: "Read profiles and everything they extend, and list what is wrong with them. " +
			"The exit status is 0 when nothing is and 1 when something is.",
		example: "sbx profile check\nsbx profile check build strict\nsbx profile check --format=json",
		words:   func([]string) []candidate { return profileNames() },
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			format := "text"
			addWord(fs, &format, "format", "FORM", gOutput, "text or json", "text", "json")
			return func(inv *invocation) error { return inv.checkProfiles(format == "json") }
		},
	}
}

func (inv *invocation) checkProfiles(asJSON bool) error {
	refs := inv.args
	if len(refs) == 0 {
		refs = []string{""}
	}
	found := []problem{}
	for _, ref := range refs {
		if _, err := inv.load(ref); err != nil {
			found = append(found, inv.problems(err)...)
		}
	}
	if len(found) > 0 {
		inv.status = exitFound
	}
	if asJSON {
		return inv.printJSON(failure{Schema: 1, Code: inv.status, Errors: found})
	}
	for _, p := range found {
		fmt.Fprintln(inv.out, p)
	}
	return nil
}

func profileSchemaCommand() command {
	return command{
		name: "profile schema", summary: "print the JSON Schema of profiles, for editors",
		long:    "Print the JSON Schema (draft 2020-12) of a profile. Editors check and complete TOML files with it.",
		example: "sbx profile schema",
		flags: func(*pflag.FlagSet) func(*invocation) error {
			return func(inv *invocation) error {
				if err := inv.max(0); err != nil {
					return err
				}
				_, err := inv.out.Write(profiles.Schema())
				return err
			}
		},
	}
}

// fileOf is the profile that trust and untrust are about: the argument, else
// the nearest .sbx.toml.
func (inv *invocation) fileOf(env profiles.Env) (string, error) {
	if len(inv.args) == 1 {
		return filepath.Abs(inv.args[0])
	}
	path, ok, err := profiles.Discover(env.Cwd, env)
	if err == nil && !ok {
		err = usagef("there is no .sbx.toml here or above; name a file")
	}
	return path, err
}
