package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

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
		fmt.Fprintf(inv.out, "%-12s %-10s %s\n", p.Name, printable(near(p.From)), printable(p.Description))
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
	text := escape(p.TOML())
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
		if isTerminal(inv.out) {
			text = []byte(printable(string(text)))
		}
	}
	_, err = inv.out.Write(text)
	return err
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
