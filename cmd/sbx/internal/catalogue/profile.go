// Package catalogue lists, prints, makes and checks profiles, and trusts them.
package catalogue

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
)

// LsCommand is the verb profile ls.
func LsCommand() cli.Command {
	return cli.Command{
		Name: "profile ls", Args: "[FLAGS]", Summary: "list the profiles that a name can mean",
		Long:    "List your profiles, the administrator's and the built-in ones. Of a name that is there twice, the one that is used.",
		Example: "sbx profile ls\nsbx profile ls --format=json",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return cli.TextOrJSON(fs, 0, listProfiles)
		},
	}
}

// profileInfo is one line of `sbx profile ls --format=json`.
type profileInfo struct {
	Name        string `json:"name"`
	From        string `json:"from"` // a file, or "builtin:NAME"
	Description string `json:"description"`
}

func listProfiles(inv *cli.Invocation, asJSON bool) error {
	list := []profileInfo{}
	for _, i := range profiles.List(profiles.HostEnv()) {
		list = append(list, profileInfo{i.Name, i.Ref.String(), i.Description})
	}
	if asJSON {
		return inv.PrintJSON(struct {
			Schema   int           `json:"schema"`
			Profiles []profileInfo `json:"profiles"`
		}{1, list})
	}
	for _, p := range list {
		if strings.HasPrefix(p.From, "builtin:") {
			p.From = "built-in"
		}
		fmt.Fprintf(inv.Out, "%-12s %-10s %s\n", p.Name, screen.Printable(screen.Near(p.From)), screen.Printable(p.Description))
	}
	return nil
}

// ShowCommand is the verb profile show.
func ShowCommand() cli.Command {
	return cli.Command{
		Name: "profile show", Args: "[FLAGS] [PROFILE]", Summary: "print a profile",
		Long: "Print the text of a profile; with --resolved what it comes to after everything it extends was merged, " +
			"with the file and line of each value.",
		Example: "sbx profile show build\nsbx profile show --resolved",
		Words:   cli.FirstProfile,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			resolved := false
			cli.AddSwitch(fs, &resolved, "resolved", "r", cli.GroupOutput, "merged, with the origin of each value")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(1); err != nil {
					return err
				}
				return showProfile(inv, resolved)
			}
		},
	}
}

func showProfile(inv *cli.Invocation, resolved bool) error {
	p, err := inv.Load(strings.Join(inv.Args, ""))
	if err != nil {
		return err
	}
	text := screen.Escape(p.TOML())
	if !resolved {
		file := p.Files[len(p.Files)-1]
		if name, ok := strings.CutPrefix(file, "builtin:"); ok {
			source, _ := profiles.Source(name)
			text = []byte(source)
		} else if file == "-" {
			return cli.Usagef("standard input can only be shown with --resolved")
		} else if text, err = os.ReadFile(file); err != nil {
			return err
		}
		if screen.IsTerminal(inv.Out) {
			text = []byte(screen.Printable(string(text)))
		}
	}
	_, err = inv.Out.Write(text)
	return err
}

// SchemaCommand is the verb profile schema.
func SchemaCommand() cli.Command {
	return cli.Command{
		Name: "profile schema", Summary: "print the JSON Schema of profiles, for editors",
		Long:    "Print the JSON Schema (draft 2020-12) of a profile. Editors check and complete TOML files with it.",
		Example: "sbx profile schema",
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if err := inv.Max(0); err != nil {
					return err
				}
				_, err := inv.Out.Write(profiles.Schema())
				return err
			}
		},
	}
}
