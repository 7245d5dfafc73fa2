package catalogue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
)

// TrustCommand is the verb trust.
func TrustCommand() cli.Command {
	return cli.Command{
		Name: "trust", Args: "[FLAGS] [FILE]", Summary: "agree to what a project's profile asks for",
		Long: "A profile that came with a project may only take away from what your own profile grants. " +
			"trust agrees to the rest of what FILE, by default the nearest .sbx.toml, asks for now: " +
			"any change to it or to what it extends takes the agreement away.",
		Example: "sbx trust --list\nsbx trust --show .sbx.toml\nsbx trust .sbx.toml",
		Words:   cli.OneFile,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			show, list := false, false
			cli.AddSwitch(fs, &show, "show", "", cli.GroupOutput, "print what it asks for and agree to nothing")
			cli.AddSwitch(fs, &list, "list", "", cli.GroupOutput, "list the profiles that you agreed to")
			return func(inv *cli.Invocation) error {
				switch {
				case list && (show || len(inv.Args) > 0):
					return cli.Usagef("--list takes no file and no other flag")
				case list:
					return listTrust(inv)
				}
				if err := inv.Max(1); err != nil {
					return err
				}
				return trust(inv, show)
			}
		},
	}
}

func listTrust(inv *cli.Invocation) error {
	entries, err := profiles.OpenTrust(profiles.HostEnv()).List()
	for _, e := range entries {
		fmt.Fprintf(inv.Out, "%s  %s\n", e.Time.Local().Format("2006-01-02 15:04"), screen.Printable(e.Path))
	}
	return err
}

// trust prints the grants of a file and, unless asked only to show them, notes
// that the person agrees.
func trust(inv *cli.Invocation, show bool) error {
	env := profiles.HostEnv()
	path, err := fileOf(inv, env)
	if err != nil {
		return err
	}
	p, err := profiles.Load(profiles.Ref{Path: path}, env)
	if err != nil {
		return err
	}
	inv.Profile = p
	if len(p.ProjectFiles()) == 0 {
		return fmt.Errorf("%s is your own and needs no trust", screen.Near(path))
	}
	base, err := profiles.Base(p, env)
	if err != nil {
		return err
	}
	grants := p.Widens(base)
	for _, g := range grants {
		at := cli.Place(g.Origin)
		at.Key, at.Reason = g.Key, g.Text
		fmt.Fprintln(inv.Out, at)
	}
	store := profiles.OpenTrust(env)
	trusted, err := store.Trusted(p)
	if err != nil {
		return err
	}
	switch {
	case trusted:
		_, err = fmt.Fprintf(inv.Out, "%s is trusted\n", screen.Printable(screen.Near(path)))
	case show && len(grants) == 0:
		_, err = fmt.Fprintf(inv.Out, "%s asks for nothing beyond your own profile and needs no trust\n", screen.Printable(screen.Near(path)))
	case show:
		_, err = fmt.Fprintf(inv.Out, "%s is not trusted\n", screen.Printable(screen.Near(path)))
	default:
		if err = store.Trust(p); err == nil && len(grants) == 0 {
			fmt.Fprintf(inv.Out, "%s asks for nothing beyond your own profile; where you have named another (sbx wrap install --profile), that takes trust\n", screen.Printable(screen.Near(path)))
		}
		if err == nil {
			_, err = fmt.Fprintf(inv.Out, "%s is trusted now, until it changes\n", screen.Printable(screen.Near(path)))
		}
	}
	return err
}

// UntrustCommand is the verb untrust.
func UntrustCommand() cli.Command {
	return cli.Command{
		Name: "untrust", Args: "[FILE]", Summary: "take back an agreement of trust",
		Long:    "Take back what trust noted for FILE, by default the nearest .sbx.toml. The file need not exist any more.",
		Example: "sbx untrust .sbx.toml",
		Words:   cli.OneFile,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if err := inv.Max(1); err != nil {
					return err
				}
				env := profiles.HostEnv()
				path, err := fileOf(inv, env)
				if err != nil {
					return err
				}
				n, err := profiles.OpenTrust(env).Untrust(path)
				if err == nil && n == 0 {
					err = errors.New(screen.Near(path) + " was not trusted")
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(inv.Out, "%s is not trusted any more\n", screen.Printable(screen.Near(path)))
				return err
			}
		},
	}
}

// fileOf is the profile that trust and untrust are about: the argument, else
// the nearest .sbx.toml.
func fileOf(inv *cli.Invocation, env profiles.Env) (string, error) {
	if len(inv.Args) == 1 {
		path, err := filepath.Abs(inv.Args[0])
		if st, serr := os.Stat(path); err == nil && serr == nil && st.IsDir() {
			path = filepath.Join(path, ".sbx.toml")
		}
		return path, err
	}
	path, ok, err := profiles.Discover(env.Cwd, env)
	if err == nil && !ok {
		err = cli.Usagef("there is no .sbx.toml here or above; name a file")
	}
	return path, err
}
