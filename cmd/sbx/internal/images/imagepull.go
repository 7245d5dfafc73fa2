package images

import (
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/overlay/image"
)

// PullCommand is the verb image pull.
func PullCommand() cli.Command {
	return cli.Command{
		Name: "image pull", Args: "[FLAGS] REFERENCE", Summary: "fetch an image from a registry",
		Long: "Fetch an image from a registry, as debian:12 or registry.example/team/tool@sha256:..., and call it so, or NAME. Layers that are there already are not fetched. " +
			"Credentials are those that podman login and docker login keep.",
		Example: "sbx image pull debian:12\nsbx image pull --name tool registry.example/team/tool:1.4",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			req := image.Request{Verb: image.VerbPull}
			addText(fs, &req.Name, "name", "NAME", "what to call it, as base or base:1")
			cli.AddSwitch(fs, &req.PlainHTTP, "plain-http", "", cli.GroupNetwork, "without TLS; a registry on the loopback may always be so")
			quiet := limitFlags(fs, &req.Limits)
			return func(inv *cli.Invocation) error {
				if err := exactly(inv, 1, "the reference of an image"); err != nil {
					return err
				}
				if err := image.CheckName(inv.Args[0]); err != nil {
					return cli.WrongUsage(err)
				}
				req.Names = inv.Args
				return takeImage(inv, req, *quiet)
			}
		},
	}
}

// ExportCommand is the verb image export.
func ExportCommand() cli.Command {
	return cli.Command{
		Name: "image export", Args: "[FLAGS] NAME PATH", Summary: "write an image to a file or a directory",
		Long:    "Write an image to PATH, where nothing must be yet: an archive of an OCI image layout, the layout as a directory, or an archive for docker load. Layers hold byte for byte what came in.",
		Example: "sbx image export base:1 base.tar\nsbx image export --format=docker-archive base:1 base.tar",
		Words: func(args []string) []cli.Candidate {
			if len(args) > 0 {
				return cli.OneFile(args[1:])
			}
			return Names()
		},
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			req := image.Request{Verb: image.VerbExport, Format: "oci-archive"}
			cli.AddWord(fs, &req.Format, "format", "FORM", cli.GroupOutput, "oci-archive, oci (a directory) or docker-archive", "oci-archive", "oci", "docker-archive")
			quiet := false
			cli.AddSwitch(fs, &quiet, "quiet", "q", cli.GroupOutput, "print nothing but errors")
			return func(inv *cli.Invocation) error {
				if err := exactly(inv, 2, "an image's name and a path"); err != nil {
					return err
				}
				path, err := filepath.Abs(inv.Args[1])
				if err != nil {
					return err
				}
				inv.Silent = quiet
				req.Names, req.Path = inv.Args[:1], path
				_, err = storeVerb(inv, req)
				return err
			}
		},
	}
}
