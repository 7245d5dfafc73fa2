package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/editors"
	"github.com/sbx-sandbox/sbx/profiles"
)

// EditorCommand is the verb editor init.
func EditorCommand() cli.Command {
	return cli.Command{
		Name: "editor init", Args: "[FLAGS] EDITOR", Summary: "print what has an editor use the project's sandbox",
		Long: "Print the settings by which EDITOR (vscode, nvim, helix, emacs or zed) runs its terminals, as far as it can, and its language servers in the project's sandbox. " +
			"With --write they go into the project, to where the editor looks for them; a file that is there already is never changed. " +
			"Such a file belongs to the project, and a profile with workspace.protect keeps the sandbox from changing it; it is no protection of anything itself.",
		Example: "sbx editor init helix\nsbx editor init --write vscode",
		Words: func(args []string) []cli.Candidate {
			if len(args) > 0 {
				return nil
			}
			var list []cli.Candidate
			for _, s := range editors.All() {
				list = append(list, cli.Candidate{Word: s.Editor, Doc: s.Path})
			}
			return list
		},
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			write := false
			cli.AddSwitch(fs, &write, "write", "", cli.GroupOutput, "write them to the project's directory")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(1); err != nil {
					return err
				}
				if len(inv.Args) == 0 {
					return cli.Usagef("for which editor? vscode, nvim, helix, emacs or zed")
				}
				return editorInit(inv, inv.Args[0], write)
			}
		},
	}
}

func editorInit(inv *cli.Invocation, name string, write bool) error {
	var known []string
	for _, s := range editors.All() {
		if s.Editor != name {
			known = append(known, s.Editor)
			continue
		}
		if !write {
			_, err := fmt.Fprint(inv.Out, s.Text)
			return err
		}
		return writeSettings(inv, s)
	}
	return cli.Usagef("no settings for %q%s, there are those of %s", name, cli.Meant(name, known), strings.Join(known, ", "))
}

// writeSettings makes the editor's file in the project.
func writeSettings(inv *cli.Invocation, s editors.Settings) error {
	if s.Path == "" {
		return fmt.Errorf("%s takes such settings only from your own: sbx editor init %s prints them", s.Editor, s.Editor)
	}
	p, err := At(profiles.HostEnv())
	if err != nil {
		return err
	}
	// A link that the project brought along is not to lead out of it.
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if dir := filepath.Dir(s.Path); dir != "." {
		if err := root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("writing %s: %w", s.Path, err)
		}
	}
	f, err := root.OpenFile(s.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and was not changed; sbx editor init %s prints what to put into it", screen.Near(filepath.Join(p.Dir, s.Path)), s.Editor)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", s.Path, err)
	}
	_, err = f.WriteString(s.Text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", s.Path, err)
	}
	_, err = fmt.Fprintln(inv.Out, filepath.Join(p.Dir, s.Path))
	return err
}
