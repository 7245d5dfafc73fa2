package images

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/image"
)

// RmCommand is the verb image rm.
func RmCommand() cli.Command {
	return cli.Command{
		Name: "image rm", Args: "[FLAGS] NAME...", Summary: "remove images",
		Long:    "Take names away from images. An image without any is removed, with the layers that no other image has, unless a sandbox runs on it.",
		Example: "sbx image rm base:1",
		Words:   func([]string) []cli.Candidate { return Names() },
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			req := image.Request{Verb: image.VerbRemove}
			cli.AddSwitch(fs, &req.Force, "force", "f", cli.GroupFiles, "remove one that is given by its id, with all its names")
			return func(inv *cli.Invocation) error {
				if len(inv.Args) == 0 {
					return cli.Usagef("missing: the image's name; usage: sbx %s", inv.Verb.Usage())
				}
				req.Names = inv.Args
				return removeImages(inv, req)
			}
		},
	}
}

// removeImages prints what is gone.
func removeImages(inv *cli.Invocation, req image.Request) error {
	m, err := storeVerb(inv, req)
	if err != nil {
		return err
	}
	for _, r := range m.Images {
		name := strings.Join(r.Names, ", ")
		if name == "" {
			name = "without a name"
		}
		fmt.Fprintf(inv.Out, "removed %s  %s\n", r.ID[:12], screen.Printable(name))
	}
	if req.Verb == image.VerbPrune {
		fmt.Fprintf(inv.Out, "%s freed\n", screen.SizeText(m.Freed))
	}
	return nil
}

// PruneCommand is the verb image prune.
func PruneCommand() cli.Command {
	return cli.Command{
		Name: "image prune", Args: "[FLAGS]", Summary: "remove images without a name, and what broken imports left",
		Long:    "Remove images that have no name any more, layers that belong to no image, and temporary files. Images in use stay.",
		Example: "sbx image prune\nsbx image prune --all",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			req := image.Request{Verb: image.VerbPrune}
			cli.AddSwitch(fs, &req.All, "all", "a", cli.GroupFiles, "also those with names")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(0); err != nil {
					return err
				}
				return removeImages(inv, req)
			}
		},
	}
}

// TagCommand is the verb image tag.
func TagCommand() cli.Command {
	return cli.Command{
		Name: "image tag", Args: "NAME NEWNAME", Summary: "give an image another name",
		Long:    "Give an image another name. It keeps those it has; a name that another image had is taken from that.",
		Example: "sbx image tag base:1 base:old",
		Words: func(args []string) []cli.Candidate {
			if len(args) > 0 {
				return nil
			}
			return Names()
		},
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if err := exactly(inv, 2, "the image's name and a new one"); err != nil {
					return err
				}
				if err := image.CheckName(inv.Args[1]); err != nil {
					return cli.WrongUsage(err)
				}
				_, err := storeVerb(inv, image.Request{Verb: image.VerbTag, Names: inv.Args[:1], Name: inv.Args[1]})
				return err
			}
		},
	}
}
