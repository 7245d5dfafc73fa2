// Package images is the verbs about images, which sbx-store does, and the look-up of
// the one that is a root.
package images

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/profiles"
)

// ImportCommand is the verb image import.
func ImportCommand() cli.Command {
	return cli.Command{
		Name: "image import", Args: "[FLAGS] PATH", Summary: "take in an image from a file or a directory",
		Long: "Take in an image: an OCI image layout or its archive, an archive of docker save, a tar archive of a file tree (plain or compressed by gzip, zstd, xz or bzip2), or a directory. " +
			"It is called NAME, else what it calls itself, else as its file. What it holds is judged before it is unpacked; nothing of an image that is refused stays.",
		Example: "sbx image import --name base:1 rootfs.tar.zst\nsbx image import ./layout",
		Words:   cli.OneFile,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			req := image.Request{Verb: image.VerbImport}
			addText(fs, &req.Name, "name", "NAME", "what to call it, as base or base:1")
			addText(fs, &req.Ref, "ref", "NAME", "which of several images in it")
			quiet := limitFlags(fs, &req.Limits)
			return func(inv *cli.Invocation) error {
				if err := exactly(inv, 1, "the file or directory to import"); err != nil {
					return err
				}
				path, err := filepath.Abs(inv.Args[0])
				if err != nil {
					return err
				}
				req.Path = path
				return takeImage(inv, req, *quiet)
			}
		},
	}
}

// takeImage has an image taken in and prints what it is called.
func takeImage(inv *cli.Invocation, req image.Request, quiet bool) error {
	inv.Silent = quiet
	m, err := storeVerb(inv, req)
	if err != nil {
		return err
	}
	for _, r := range m.Images {
		if !quiet {
			fmt.Fprintf(inv.Out, "%s  %s\n", r.ID[:12], screen.Printable(strings.Join(r.Names, ", ")))
		}
	}
	return nil
}

// storeVerb is askStore for a verb of its own.
func storeVerb(inv *cli.Invocation, req image.Request) (*image.Message, error) {
	inv.Env = profiles.HostEnv()
	return askStore(inv, req)
}

// limitFlags declares the flags of what takes images in.
func limitFlags(fs *pflag.FlagSet, l *image.Limits) (quiet *bool) {
	d := image.Default
	addSize(fs, &l.Size, "max-size", fmt.Sprintf("refuse more bytes than this, unpacked (%s)", screen.SizeText(d.Size)))
	addCount(fs, &l.Entries, "max-entries", fmt.Sprintf("refuse more files than this (%d)", d.Entries))
	addCount(fs, &l.Ratio, "max-ratio", fmt.Sprintf("refuse what grows more than so many times (%d)", d.Ratio))
	addCount(fs, &l.Depth, "max-depth", fmt.Sprintf("refuse files in more directories than this (%d)", d.Depth))
	addSize(fs, &l.Free, "min-free", fmt.Sprintf("stop when less is free on the disk (%s)", screen.SizeText(d.Free)))
	quiet = new(bool)
	cli.AddSwitch(fs, quiet, "quiet", "q", cli.GroupOutput, "print nothing but errors")
	return quiet
}

func addText(fs *pflag.FlagSet, into *string, name, arg, usage string) {
	cli.AddFlag(fs, cli.Flag{Name: name, Arg: arg, Group: cli.GroupFiles, Usage: usage, Set: func(s string) error { *into = s; return nil }})
}

func addSize(fs *pflag.FlagSet, into *int64, name, usage string) {
	cli.AddFlag(fs, cli.Flag{Name: name, Arg: "SIZE", Group: cli.GroupLimits, Usage: usage, Set: func(s string) error {
		n, err := profiles.ParseSize(s)
		if err != nil || n <= 0 {
			return fmt.Errorf("%q is not a size, use bytes or a unit such as 64M or 1G", s)
		}
		*into = n
		return nil
	}})
}

func addCount(fs *pflag.FlagSet, into *int64, name, usage string) {
	cli.AddFlag(fs, cli.Flag{Name: name, Arg: "N", Group: cli.GroupLimits, Usage: usage, Set: func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n <= 0 {
			return fmt.Errorf("%q is not a number from 1 on", s)
		}
		*into = n
		return nil
	}})
}

// exactly wants n arguments.
func exactly(inv *cli.Invocation, n int, what string) error {
	if len(inv.Args) < n {
		return cli.Usagef("missing: %s; usage: sbx %s", what, inv.Verb.Usage())
	}
	return inv.Max(n)
}

// LsCommand is the verb image ls.
func LsCommand() cli.Command {
	return cli.Command{
		Name: "image ls", Args: "[FLAGS]", Summary: "list the images",
		Long:    "List the images that sandboxes can have as their root, with their names, sizes and when they came.",
		Example: "sbx image ls\nsbx image ls --format=json",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return cli.TextOrJSON(fs, 0, listImages)
		},
	}
}

func listImages(inv *cli.Invocation, asJSON bool) error {
	records, err := images(inv)
	if err != nil {
		return err
	}
	if asJSON {
		return inv.PrintJSON(struct {
			Schema int             `json:"schema"`
			Images []*image.Record `json:"images"`
		}{1, records})
	}
	if len(records) == 0 {
		fmt.Fprintln(inv.Err, "no images; sbx image import and sbx image pull get some")
		return nil
	}
	rows := [][]string{{"NAME", "ID", "SIZE", "LAYERS", "IMPORTED"}}
	for _, r := range records {
		names := r.Names
		if len(names) == 0 {
			names = []string{"-"}
		}
		for _, n := range names {
			rows = append(rows, []string{n, r.ID[:12], screen.SizeText(r.Size), strconv.Itoa(len(r.Layers)), r.Imported.Local().Format("2006-01-02 15:04")})
		}
	}
	return inv.Table(rows)
}

// images are all records, by name.
func images(inv *cli.Invocation) ([]*image.Record, error) {
	inv.Env = profiles.HostEnv()
	dir := Dir(inv)
	if dir == "" {
		return nil, errors.New("there is no home directory in which images are kept; set HOME or XDG_DATA_HOME")
	}
	x, err := imageIndex(inv, dir)
	if err != nil {
		return nil, err
	}
	records := []*image.Record{}
	for _, id := range x.IDs {
		r, err := image.Load(dir, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b *image.Record) int {
		return strings.Compare(strings.Join(a.Names, " "), strings.Join(b.Names, " "))
	})
	return records, nil
}

// InspectCommand is the verb image inspect.
func InspectCommand() cli.Command {
	return cli.Command{
		Name: "image inspect", Args: "NAME...", Summary: "print what is known of images, as JSON",
		Long:    "Print what is known of images: their configuration, layers and where they came from, as one JSON object.",
		Example: "sbx image inspect base:1",
		Words:   func([]string) []cli.Candidate { return Names() },
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if len(inv.Args) == 0 {
					return cli.Usagef("missing: the image's name; usage: sbx %s", inv.Verb.Usage())
				}
				records, err := named(inv, inv.Args)
				if err != nil {
					return err
				}
				return inv.PrintJSON(struct {
					Schema int             `json:"schema"`
					Images []*image.Record `json:"images"`
				}{1, records})
			}
		},
	}
}

// named are the records of the images that names mean.
func named(inv *cli.Invocation, names []string) ([]*image.Record, error) {
	inv.Env = profiles.HostEnv()
	dir := Dir(inv)
	x, err := imageIndex(inv, dir)
	if err != nil {
		return nil, err
	}
	var list []*image.Record
	for _, n := range names {
		id, err := x.Find(n)
		if errors.Is(err, image.ErrNone) {
			return nil, fmt.Errorf("there is no image %q%s; sbx image ls lists those there are", n, cli.Meant(image.Tagged(n), slices.Collect(maps.Keys(x.Names))))
		}
		if err != nil {
			return nil, err
		}
		r, err := image.Load(dir, id)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}
