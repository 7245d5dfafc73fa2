package sandboxes

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// GrantCommand is the verb grant.
func GrantCommand() cli.Command {
	return cli.Command{
		Name: "grant", Args: "[FLAGS] NAME PATH[:ro|rw]", Summary: "show a running sandbox a path of the host",
		Long: "Put a mount in a sandbox that runs: one that its profile marks with grantable = true, by its target or its source, with the mount's access at most; read-only unless :rw is given. " +
			"With --for it is taken away again after a time. What the profile does not name can't be granted: Landlock's rules are made at the start and can't be widened.",
		Example: "sbx grant web ~/data\nsbx grant --for 15m web /srv/data:rw",
		Words:   grantWords,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			g := &control.Grant{}
			cli.AddFlag(fs, cli.Flag{Name: "for", Arg: "TIME", Group: cli.GroupLife, Usage: "take it away after this time: 15m", Set: func(s string) (err error) {
				if g.For, err = time.ParseDuration(s); err != nil || g.For <= 0 {
					return fmt.Errorf("%q is no time, write 15m or 1h30m", s)
				}
				return nil
			}})
			return func(inv *cli.Invocation) error {
				path, write, err := accessOf(inv)
				if err != nil {
					return err
				}
				g.Write = write
				return askGrant(inv, control.Allow, g, path)
			}
		},
	}
}

// RevokeCommand is the verb revoke.
func RevokeCommand() cli.Command {
	return cli.Command{
		Name: "revoke", Args: "NAME PATH", Summary: "take a granted path away from a running sandbox",
		Long:    "Take away what sbx grant has shown a sandbox. Files that the command has open, and directories it is in, stay with it; nothing new can be opened by the path.",
		Example: "sbx revoke web ~/data",
		Words:   grantWords,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				path, _, err := accessOf(inv)
				if err != nil {
					return err
				}
				return askGrant(inv, control.Revoke, &control.Grant{}, path)
			}
		},
	}
}

// accessOf is the path that is named, and whether it is to be written.
func accessOf(inv *cli.Invocation) (path string, write bool, err error) {
	if err := inv.Max(2); err != nil {
		return "", false, err
	}
	if len(inv.Args) < 2 || inv.Args[1] == "" {
		return "", false, cli.Usagef("which sandbox, and what path? usage: sbx %s", inv.Verb.Usage())
	}
	path = inv.Args[1]
	if rest, ok := strings.CutSuffix(path, ":rw"); ok {
		path, write = rest, true
	} else {
		path = strings.TrimSuffix(path, ":ro")
	}
	path, err = filepath.Abs(path)
	return path, write, err
}

func askGrant(inv *cli.Invocation, op control.Op, g *control.Grant, path string) error {
	r, err := One(inv)
	if err != nil {
		return err
	}
	g.Path = path
	g.Real, _ = filepath.EvalSymlinks(path) // one that is not there is meant by its target
	return ask(&r, control.Request{Op: op, Grant: g})
}

// grantRow is a mount that can be granted, or is.
type grantRow struct {
	Target  string    `json:"target"`
	Source  string    `json:"source"`
	May     string    `json:"may"`     // the profile's access, "ro" or "rw"
	Granted string    `json:"granted"` // "" for not at all
	Expires time.Time `json:"expires,omitzero"`
}

// GrantsCommand is the verb grants.
func GrantsCommand() cli.Command {
	return cli.Command{
		Name: "grants", Args: "[FLAGS] NAME", Summary: "list what can be granted to a sandbox, and what is",
		Long:    "List the mounts that a running sandbox's profile marks as grantable, with the access they may be granted with, whether they are granted now, and until when.",
		Example: "sbx grants web\nsbx grants --format '{{.Target}} {{.Granted}}' web",
		Words:   FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var format string
			cli.FormatFlag(fs, &format, "", "'{{.Target}} {{.Granted}}'")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(1); err != nil {
					return err
				}
				r, err := One(inv)
				if err != nil {
					return err
				}
				if !r.Alive() {
					return NotRunning(&r)
				}
				rows, err := grantRows(&r)
				if err != nil {
					return err
				}
				return cli.List(inv, rows, format, grantsTable)
			}
		},
	}
}

func grantRows(r *state.Record) ([]grantRow, error) {
	plan, err := PlanOf(r)
	if err != nil {
		return nil, err
	}
	rows := []grantRow{}
	for _, m := range plan.Mounts {
		if !m.Grantable {
			continue
		}
		row := grantRow{Target: m.Target, Source: m.Source, May: "rw"}
		if m.ReadOnly {
			row.May = "ro"
		}
		if i := slices.IndexFunc(r.Grants, func(g state.Grant) bool { return g.Target == m.Target }); i >= 0 {
			row.Granted, row.Expires = r.Grants[i].Access, r.Grants[i].Expires
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func grantsTable(rows []grantRow) [][]string {
	cells := [][]string{{"TARGET", "SOURCE", "MAY", "GRANTED", "EXPIRES"}}
	for _, r := range rows {
		granted, expires := "no", ""
		if r.Granted != "" {
			granted = r.Granted
		}
		if !r.Expires.IsZero() {
			expires = "in " + screen.Ago(time.Until(r.Expires))
		}
		cells = append(cells, []string{r.Target, r.Source, r.May, granted, expires})
	}
	return cells
}

// grantWords are the sandbox's grantable targets.
func grantWords(args []string) []cli.Candidate {
	if len(args) != 1 {
		return FirstName(args)
	}
	store, err := state.OpenExisting()
	if err != nil {
		return nil
	}
	r, err := store.Find(args[0])
	if err != nil {
		return nil
	}
	rows, _ := grantRows(&r)
	var list []cli.Candidate
	for _, row := range rows {
		list = append(list, cli.Candidate{Word: row.Target, Doc: row.May})
	}
	return list
}
