package overlays

import (
	"errors"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// Names are the overlays there are, for completion.
func Names([]string) []cli.Candidate {
	inv := &cli.Invocation{}
	store, err := Store(inv)
	if err != nil {
		return nil
	}
	var list []cli.Candidate
	records, _ := store.List()
	for _, r := range records {
		list = append(list, cli.Candidate{Word: r.Name, Doc: "changes to " + over(r)})
	}
	return list
}

// DiscardCommand is the verb discard.
func DiscardCommand() cli.Command {
	return cli.Command{
		Name: "discard", Args: "NAME...", Summary: "throw away the changes that runs with an overlay left",
		Long:    "Throw away the changes that are kept under each NAME, with their snapshots. The host's files were never changed by them. What a sandbox still runs on stays.",
		Example: "sbx discard build-x7kq",
		Words:   Names,
		Flags:   func(*pflag.FlagSet) func(*cli.Invocation) error { return discardNamed },
	}
}

// RmCommand is the verb overlay rm.
func RmCommand() cli.Command {
	c := DiscardCommand()
	c.Name, c.Summary, c.Long, c.Example = "overlay rm", "the same as discard", "The same as sbx discard.", "sbx overlay rm build-x7kq"
	return c
}

func discardNamed(inv *cli.Invocation) error {
	if len(inv.Args) == 0 {
		return cli.Usagef("which? name them: sbx %s NAME...; sbx overlay ls lists those there are", inv.Verb.Name)
	}
	if store, err := Store(inv); err == nil {
		sweep(inv, store)
	}
	var errs []error
	for _, name := range inv.Args {
		if name == "" {
			errs = append(errs, cli.Usagef("a name is empty"))
			continue
		}
		rec, store, err := Named(inv, name)
		if err == nil {
			err = Discard(inv, store, rec)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// LsCommand is the verb overlay ls.
func LsCommand() cli.Command {
	return cli.Command{
		Name: "overlay ls", Args: "[FLAGS]", Summary: "list the changes that are kept",
		Long:    "List what runs with an overlay left: name, size on disk with its snapshots, age, who made the layers, whether a sandbox runs on it, and the host's directory.",
		Example: "sbx overlay ls\nsbx overlay ls --format=json",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return cli.TextOrJSON(fs, 0, listOverlays)
		},
	}
}

// overlayLine is what `overlay ls` says of one.
type overlayLine struct {
	*upper.Record
	Running bool  `json:"running"`
	Bytes   int64 `json:"bytes"`
	Files   int   `json:"files"`
	// Snapshot is the bytes of all snapshots together, some of which the file system
	// may keep but once.
	Snapshot int64 `json:"snapshot_bytes"`
	// Whole is false where directories of other ids could not be looked into.
	Whole bool `json:"whole"`
}

func listOverlays(inv *cli.Invocation, asJSON bool) error {
	store, err := Store(inv)
	if err != nil {
		return err
	}
	sweep(inv, store)
	records, errs := store.List()
	lines := make([]overlayLine, len(records))
	for i, r := range records {
		dir := store.Dir(r.Name)
		l := overlayLine{Record: r, Running: upper.Running(dir), Whole: true}
		for _, layer := range r.Layers {
			b, n, whole := upper.Size(upper.Path(dir, layer.Upper))
			l.Bytes, l.Files, l.Whole = l.Bytes+b, l.Files+n, l.Whole && whole
		}
		if len(r.Snapshots) > 0 {
			var whole bool
			l.Snapshot, _, whole = upper.Size(upper.Snapshots(dir))
			l.Whole = l.Whole && whole
		}
		lines[i] = l
	}
	if asJSON {
		err := inv.PrintJSON(struct {
			Schema   int           `json:"schema"`
			Overlays []overlayLine `json:"overlays"`
		}{1, lines})
		return errors.Join(append(errs, err)...)
	}
	rows := [][]string{{"NAME", "SIZE", "FILES", "AGE", "DRIVER", "STATE", "DIRECTORY"}}
	for _, l := range lines {
		state := "kept"
		switch {
		case l.Running:
			state = "in use"
		case l.Restoring != "":
			state = "to be restored"
		}
		rows = append(rows, []string{l.Name, diskText(l.Bytes+l.Snapshot, l.Whole), strconv.Itoa(l.Files), screen.Ago(time.Since(l.Used)) + " ago", string(l.Driver), state, over(l.Record)})
	}
	return errors.Join(append(errs, inv.Table(rows))...)
}

// over says what an overlay lies over.
func over(r *upper.Record) string {
	if l := &r.Layers[0]; l.Image != "" {
		return "the image " + l.Image[:min(len(l.Image), 12)]
	}
	return screen.Quoted(screen.Near(r.Layers[0].Lower[0]))
}

// diskText is how much was found on disk; more where not all could be looked at.
func diskText(bytes int64, whole bool) string {
	if !whole {
		return ">" + screen.SizeText(bytes)
	}
	return screen.SizeText(bytes)
}

// SnapshotCommand is the verb snapshot.
func SnapshotCommand() cli.Command {
	return cli.Command{
		Name: "snapshot", Args: "NAME [SNAPSHOT]", Summary: "copy the changes that are kept, to go back to",
		Long:    "Copy the changes that are kept under NAME, as SNAPSHOT or the next number, which is printed. Where the file system can, the copy shares its space with the original. No sandbox may run on NAME meanwhile.",
		Example: "sbx snapshot fix-1 before-refactoring",
		Words:   Names,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error { return snapshot(inv, "snapshot", 1) }
		},
	}
}

// RestoreCommand is the verb restore.
func RestoreCommand() cli.Command {
	return cli.Command{
		Name: "restore", Args: "NAME SNAPSHOT", Summary: "go back to a snapshot of changes",
		Long:    "Put a copy of SNAPSHOT in place of the changes that are kept under NAME. Interrupted, it can be done again. No sandbox may run on NAME meanwhile.",
		Example: "sbx restore fix-1 before-refactoring",
		Words: func(args []string) []cli.Candidate {
			if len(args) == 0 {
				return Names(nil)
			}
			inv := &cli.Invocation{}
			rec, _, err := Named(inv, args[0])
			if err != nil || len(args) > 1 {
				return nil
			}
			var list []cli.Candidate
			for _, s := range rec.Snapshots {
				list = append(list, cli.Candidate{Word: s, Doc: "snapshot"})
			}
			return list
		},
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error { return snapshot(inv, "restore", 2) }
		},
	}
}

// snapshot makes one or goes back to it; least is how many arguments it takes.
func snapshot(inv *cli.Invocation, what string, least int) error {
	if len(inv.Args) < least || inv.Args[0] == "" {
		return cli.Usagef("usage: sbx %s", inv.Verb.Usage())
	}
	if err := inv.Max(2); err != nil {
		return err
	}
	rec, store, err := Named(inv, inv.Args[0])
	if err != nil {
		return err
	}
	name := ""
	if len(inv.Args) > 1 {
		if name = inv.Args[1]; upper.CheckName(name) != nil {
			return cli.Usagef("%q is no name of a snapshot: letters, digits, dots, underscores and hyphens", name)
		}
	}
	if rec.IDs.Mode == "range" {
		args := []string{what, store.Dir(rec.Name)}
		if name != "" {
			args = append(args, name)
		}
		return within(inv, rec, args...)
	}
	return onOverlay(inv, what, store.Dir(rec.Name), name)
}
