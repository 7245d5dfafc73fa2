package overlays

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/userns"
)

// VolumesIn is the directory of volumes in sbx's own data directory.
func VolumesIn(data string) string { return filepath.Join(data, "volumes") }

func volumes(inv *cli.Invocation) (string, error) {
	store, err := Store(inv)
	return VolumesIn(filepath.Dir(store.Root)), err
}

// volumeNames are the volumes that there are.
func volumeNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if upper.CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// volumeWords are the volumes for completion.
func volumeWords([]string) []cli.Candidate {
	dir, err := volumes(&cli.Invocation{})
	if err != nil {
		return nil
	}
	names, _ := volumeNames(dir)
	var list []cli.Candidate
	for _, name := range names {
		list = append(list, cli.Candidate{Word: name, Doc: "volume"})
	}
	return list
}

// VolumeLsCommand is the verb volume ls.
func VolumeLsCommand() cli.Command {
	return cli.Command{
		Name: "volume ls", Args: "[FLAGS]", Summary: "list the named volumes",
		Long:    `List the volumes that mounts with type = "volume" made: name and size on disk.`,
		Example: "sbx volume ls\nsbx volume ls --format=json",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return cli.TextOrJSON(fs, 0, listVolumes)
		},
	}
}

type volumeLine struct {
	Name  string `json:"name"`
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	Files int    `json:"files"`
	Whole bool   `json:"whole"`
}

func listVolumes(inv *cli.Invocation, asJSON bool) error {
	dir, err := volumes(inv)
	if err != nil {
		return err
	}
	names, err := volumeNames(dir)
	if err != nil {
		return err
	}
	lines := []volumeLine{}
	for _, name := range names {
		l := volumeLine{Name: name, Path: filepath.Join(dir, name)}
		l.Bytes, l.Files, l.Whole = upper.Size(l.Path)
		lines = append(lines, l)
	}
	if asJSON {
		return inv.PrintJSON(struct {
			Schema  int          `json:"schema"`
			Volumes []volumeLine `json:"volumes"`
		}{1, lines})
	}
	rows := [][]string{{"NAME", "SIZE", "FILES"}}
	for _, l := range lines {
		rows = append(rows, []string{l.Name, diskText(l.Bytes, l.Whole), strconv.Itoa(l.Files)})
	}
	return inv.Table(rows)
}

// VolumeRmCommand is the verb volume rm.
func VolumeRmCommand() cli.Command {
	return cli.Command{
		Name: "volume rm", Args: "NAME...", Summary: "remove named volumes and all that is in them",
		Long:    "Remove each volume NAME with all that is in it. Sandboxes that run with it lose it.",
		Example: "sbx volume rm go-modules",
		Words:   volumeWords,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if len(inv.Args) == 0 {
					return cli.Usagef("which? name them: sbx volume rm NAME...; sbx volume ls lists those there are")
				}
				dir, err := volumes(inv)
				if err != nil {
					return err
				}
				var errs []error
				for _, name := range inv.Args {
					errs = append(errs, removeVolume(inv, dir, name))
				}
				return errors.Join(errs...)
			}
		},
	}
}

func removeVolume(inv *cli.Invocation, dir, name string) error {
	path := filepath.Join(dir, name)
	if upper.CheckName(name) != nil {
		return cli.Usagef("%q is no name of a volume", name)
	}
	if st, err := os.Lstat(path); err != nil || !st.IsDir() {
		names, _ := volumeNames(dir)
		return fmt.Errorf("no volume %q%s; sbx volume ls lists those there are", name, cli.Meant(name, names))
	}
	err := upper.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// Files of ids that were there inside, which only a process among these can remove.
	facts, probed := host.Probe(true)
	if probed == nil {
		probed = facts.RangeErr
	}
	if probed != nil {
		return fmt.Errorf("%w; it may hold files of subordinate ids, and these can't be had: %w", err, probed)
	}
	return withIDs(inv, "the volume "+name, userns.Keep(facts.UID, facts.SubUIDs), userns.Keep(facts.GID, facts.SubGIDs), "remove-volume", path)
}

// VolumePruneCommand is the verb volume prune.
func VolumePruneCommand() cli.Command {
	return cli.Command{
		Name: "volume prune", Args: "[FLAGS]", Summary: "remove the volumes that were not used for long",
		Long:    "Remove the volumes in which nothing was changed for --older-than, by the change times of their files, and print their names.",
		Example: "sbx volume prune --older-than=30d",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			age := time.Duration(-1)
			cli.AddFlag(fs, cli.Flag{Name: "older-than", Arg: "TIME", Group: cli.GroupFiles, Usage: "such as 12h or 30d; required", Set: func(s string) (err error) {
				age, err = days(s)
				return err
			}})
			return func(inv *cli.Invocation) error {
				if err := inv.Max(0); err != nil {
					return err
				}
				if age < 0 {
					return cli.Usagef("how old? write for example --older-than=30d")
				}
				return pruneVolumes(inv, age)
			}
		},
	}
}

// days reads a duration that may have the unit d.
func days(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		d, err := time.ParseDuration(n + "h")
		if err == nil && d >= 0 {
			return 24 * d, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is not a time such as 12h or 30d", s)
}

func pruneVolumes(inv *cli.Invocation, age time.Duration) error {
	dir, err := volumes(inv)
	if err != nil {
		return err
	}
	names, err := volumeNames(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if time.Since(upper.Changed(filepath.Join(dir, name))) < age {
			continue
		}
		if err := removeVolume(inv, dir, name); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(inv.Out, name)
	}
	return errors.Join(errs...)
}
