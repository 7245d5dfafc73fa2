package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// CommitCommand is the verb image commit.
func CommitCommand() cli.Command {
	return cli.Command{
		Name: "image commit", Args: "[FLAGS] OVERLAY|SANDBOX NAME", Summary: "make an image of what a sandbox wrote over one",
		Long: "Make an image of the one that a sandbox ran on and of what it wrote over that, as a layer on top: what was kept under OVERLAY, or by SANDBOX, which must have ended. " +
			"Mount points of sbx's own, sockets, and what lies in the project, the home and other mounts are no part of it. CHANGE is an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR.",
		Example: "sbx image commit tools debian-tools:1\nsbx image commit --message=jq --entrypoint=jq tools debian-jq:1",
		Words: func(args []string) []cli.Candidate {
			if len(args) > 0 {
				return nil
			}
			return overlays.Names(nil)
		},
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			req := image.Request{Verb: image.VerbCommit, Commit: &image.Commit{}}
			c := req.Commit
			cli.AddFlag(fs, cli.Flag{Name: "change", Short: "c", Arg: "CHANGE", Group: cli.GroupFiles, Usage: "change the image's configuration; can be repeated", Set: func(s string) error {
				_, err := image.ParseChange(s)
				c.Changes = append(c.Changes, s)
				return err
			}})
			cli.AddFlag(fs, cli.Flag{Name: "entrypoint", Arg: "COMMAND", Group: cli.GroupFiles, Usage: `the program that the image runs, or ["PROGRAM", "ARG", ...]`, Set: func(s string) error {
				if !strings.HasPrefix(s, "[") {
					text, err := json.Marshal([]string{s})
					if err != nil {
						return err
					}
					s = string(text)
				}
				s = "ENTRYPOINT " + s
				_, err := image.ParseChange(s)
				c.Changes = append(c.Changes, s)
				return err
			}})
			addNote(fs, &c.Author, "author", "a", "who made it, as \"Name <mail@example.com>\"")
			addNote(fs, &c.Message, "message", "m", "what is different, for the image's history")
			quiet := limitFlags(fs, &req.Limits)
			return func(inv *cli.Invocation) error {
				if err := exactly(inv, 2, "an overlay and a name for the image"); err != nil {
					return err
				}
				if err := image.CheckName(inv.Args[1]); err != nil {
					return cli.WrongUsage(err)
				}
				rec, store, err := written(inv, inv.Args[0])
				if err != nil {
					return err
				}
				req.Path, req.Name, c.By = store.Dir(rec.Name), inv.Args[1], strings.ToValidUTF8(strings.Join(rec.Argv, " "), "?")
				return takeImage(inv, req, *quiet)
			}
		},
	}
}

func addNote(fs *pflag.FlagSet, into *string, name, short, usage string) {
	cli.AddFlag(fs, cli.Flag{Name: name, Short: short, Arg: "TEXT", Group: cli.GroupFiles, Usage: usage, Set: func(s string) error { *into = s; return nil }})
}

// written is the overlay of that name, or the one of the sandbox of that name.
func written(inv *cli.Invocation, name string) (*upper.Record, upper.Store, error) {
	store, err := overlays.Store(inv)
	if err != nil {
		return nil, store, err
	}
	if rec, err := store.Load(name); err == nil || upper.CheckName(name) == nil && !errors.Is(err, fs.ErrNotExist) {
		return rec, store, err
	}
	box, err := sandboxOverlay(name)
	if err != nil {
		return nil, store, err
	}
	if box == "" {
		return overlays.Named(inv, name) // which says that there is none
	}
	rec, err := store.Load(box)
	return rec, store, err
}

// sandboxOverlay is the name of the overlay that a sandbox keeps its changes in, ""
// if there is no such sandbox. One that keeps nothing of an image is an error.
func sandboxOverlay(name string) (string, error) {
	boxes, err := state.OpenExisting()
	if err != nil {
		return "", nil // none ever was
	}
	r, err := boxes.Find(name)
	if err != nil {
		return "", nil
	}
	p, err := sandboxes.PlanOf(&r)
	if err == nil && p.Root.Upper == "" {
		err = fmt.Errorf(`the sandbox %s keeps nothing that was written over an image; start it with --image and --overlay=NAME, or root.upper = "disk"`, name)
	}
	if err != nil {
		return "", err
	}
	return p.Overlay.Name, nil
}
