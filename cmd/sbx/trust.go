package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/profiles"
)

func trustCommand() command {
	return command{
		name: "trust", args: "[FLAGS] [FILE]", summary: "agree to what a project's profile asks for",
		long: "A profile that came with a project may only take away from what your own profile grants. " +
			"trust agrees to the rest of what FILE, by default the nearest .sbx.toml, asks for now: " +
			"any change to it or to what it extends takes the agreement away.",
		example: "sbx trust --list\nsbx trust --show .sbx.toml\nsbx trust .sbx.toml",
		words:   oneFile,
		flags: func(fs *pflag.FlagSet) func(*invocation) error {
			show, list := false, false
			addSwitch(fs, &show, "show", "", gOutput, "print what it asks for and agree to nothing")
			addSwitch(fs, &list, "list", "", gOutput, "list the profiles that you agreed to")
			return func(inv *invocation) error {
				switch {
				case list && (show || len(inv.args) > 0):
					return usagef("--list takes no file and no other flag")
				case list:
					return inv.listTrust()
				}
				if err := inv.max(1); err != nil {
					return err
				}
				return inv.trust(show)
			}
		},
	}
}

func (inv *invocation) listTrust() error {
	entries, err := profiles.OpenTrust(profiles.HostEnv()).List()
	for _, e := range entries {
		fmt.Fprintf(inv.out, "%s  %s\n", e.Time.Local().Format("2006-01-02 15:04"), printable(e.Path))
	}
	return err
}

// trust prints the grants of a file and, unless asked only to show them, notes
// that the person agrees.
func (inv *invocation) trust(show bool) error {
	env := profiles.HostEnv()
	path, err := inv.fileOf(env)
	if err != nil {
		return err
	}
	p, err := profiles.Load(profiles.Ref{Path: path}, env)
	if err != nil {
		return err
	}
	inv.profile = p
	if len(p.ProjectFiles()) == 0 {
		return fmt.Errorf("%s is your own and needs no trust", near(path))
	}
	base, err := profiles.Base(p, env)
	if err != nil {
		return err
	}
	grants := p.Widens(base)
	for _, g := range grants {
		at := place(g.Origin)
		at.Key, at.Reason = g.Key, g.Text
		fmt.Fprintln(inv.out, at)
	}
	store := profiles.OpenTrust(env)
	trusted, err := store.Trusted(p)
	if err != nil {
		return err
	}
	switch {
	case len(grants) == 0:
		_, err = fmt.Fprintf(inv.out, "%s asks for nothing beyond your own profile and needs no trust\n", printable(near(path)))
	case trusted:
		_, err = fmt.Fprintf(inv.out, "%s is trusted\n", printable(near(path)))
	case show:
		_, err = fmt.Fprintf(inv.out, "%s is not trusted\n", printable(near(path)))
	default:
		if err = store.Trust(p); err == nil {
			_, err = fmt.Fprintf(inv.out, "%s is trusted now, until it changes\n", printable(near(path)))
		}
	}
	return err
}

func untrustCommand() command {
	return command{
		name: "untrust", args: "[FILE]", summary: "take back an agreement of trust",
		long:    "Take back what trust noted for FILE, by default the nearest .sbx.toml. The file need not exist any more.",
		example: "sbx untrust .sbx.toml",
		words:   oneFile,
		flags: func(*pflag.FlagSet) func(*invocation) error {
			return func(inv *invocation) error {
				if err := inv.max(1); err != nil {
					return err
				}
				env := profiles.HostEnv()
				path, err := inv.fileOf(env)
				if err != nil {
					return err
				}
				n, err := profiles.OpenTrust(env).Untrust(path)
				if err == nil && n == 0 {
					err = errors.New(near(path) + " was not trusted")
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(inv.out, "%s is not trusted any more\n", printable(near(path)))
				return err
			}
		},
	}
}

// fileOf is the profile that trust and untrust are about: the argument, else
// the nearest .sbx.toml.
func (inv *invocation) fileOf(env profiles.Env) (string, error) {
	if len(inv.args) == 1 {
		path, err := filepath.Abs(inv.args[0])
		if st, serr := os.Stat(path); err == nil && serr == nil && st.IsDir() {
			path = filepath.Join(path, ".sbx.toml")
		}
		return path, err
	}
	path, ok, err := profiles.Discover(env.Cwd, env)
	if err == nil && !ok {
		err = usagef("there is no .sbx.toml here or above; name a file")
	}
	return path, err
}
