// Package overlays finds, lists and removes what runs have changed and what is kept in
// volumes.
package overlays

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/userns"
)

// Store is where all changes are kept.
func Store(inv *cli.Invocation) (upper.Store, error) {
	data, err := inv.DataDir("anything")
	if err != nil {
		return upper.Store{}, err
	}
	return upper.Store{Root: In(data)}, nil
}

// In is the directory of overlays in sbx's own data directory.
func In(data string) string { return filepath.Join(data, "overlays") }

// Named finds the overlay of that name; "" is the last one of the current
// directory.
func Named(inv *cli.Invocation, name string) (*upper.Record, upper.Store, error) {
	store, err := Store(inv)
	if err != nil {
		return nil, store, err
	}
	if name == "" {
		cwd, err := os.Getwd()
		if err == nil {
			cwd, err = filepath.EvalSymlinks(cwd)
		}
		if err != nil {
			return nil, store, err
		}
		rec, err := store.Last(cwd)
		if err == nil && rec == nil {
			err = fmt.Errorf("no changes are kept of %s; sbx overlay ls lists those of other directories", cwd)
		}
		return rec, store, err
	}
	rec, err := store.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		var names []string
		list, _ := store.List()
		for _, r := range list {
			names = append(names, r.Name)
		}
		err = fmt.Errorf("no overlay %q%s; sbx overlay ls lists those there are", name, cli.Meant(name, names))
	}
	return rec, store, err
}

// RangeAgain reports whether a run goes on with an overlay whose files belong to a
// range of ids, and its profile leaves it open which ids there are.
func RangeAgain(inv *cli.Invocation, p *profiles.Profile) bool {
	if p.Overlay.Name == "" || p.User.Map != "auto" {
		return false
	}
	inv.Seen.Spoil("the profile has an overlay")
	store, err := Store(inv)
	if err != nil {
		return false
	}
	rec, err := store.Load(p.Overlay.Name) // what is wrong with it is said when it is gone on with
	return err == nil && rec.IDs.Mode == "range" && len(rec.IDs.UIDs) > 1
}

// sweep removes what a verb that was killed has left.
func sweep(inv *cli.Invocation, store upper.Store) {
	for dir, rec := range store.Sweep() {
		_ = within(inv, rec, "remove", dir) // or the next time
	}
}

// Discard removes an overlay that no sandbox runs on.
func Discard(inv *cli.Invocation, store upper.Store, rec *upper.Record) error {
	var err error
	if dir := store.Dir(rec.Name); rec.IDs.Mode == "range" {
		err = within(inv, rec, "remove", dir)
	} else {
		err = removeOverlay(dir)
	}
	if err != nil {
		return err
	}
	return store.Forget(rec.Name)
}

// DiscardSpent removes an overlay that nobody named and that holds nothing any more,
// unless a sandbox runs on it. It reports whether it did.
func DiscardSpent(inv *cli.Invocation, store upper.Store, rec *upper.Record) (bool, error) {
	dir := store.Dir(rec.Name)
	if !rec.Spent(dir) {
		return false, nil
	}
	var err error
	if rec.IDs.Mode == "range" {
		err = within(inv, rec, "remove-spent", dir)
	} else {
		err = removeSpent(dir)
	}
	if _, there := os.Lstat(dir); err != nil || there == nil {
		return false, err
	}
	return true, store.Forget(rec.Name)
}

func removeSpent(dir string) error {
	h, err := upper.TryLock(dir)
	if errors.Is(err, upper.ErrBusy) { // it is wanted again
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	rec, err := upper.Load(dir)
	if err != nil || !rec.Spent(dir) {
		return err
	}
	return h.Remove()
}

// DiscardKept is Discard of an overlay that may be gone already; "" is none.
func DiscardKept(inv *cli.Invocation, name string) error {
	if name == "" {
		return nil
	}
	store, err := Store(inv)
	if err != nil {
		return err
	}
	rec, err := store.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return Discard(inv, store, rec)
}

func removeOverlay(dir string) error {
	h, err := upper.Hold(dir)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Remove()
}

// within does one of the things of WithinCommand in a user namespace with the
// ids of the overlay, as its files may belong to any of them.
func within(inv *cli.Invocation, rec *upper.Record, args ...string) error {
	return withIDs(inv, "the overlay "+rec.Name, rec.IDs.UIDs, rec.IDs.GIDs, args...)
}

// withIDs is within for what belongs to ids of these maps.
func withIDs(inv *cli.Invocation, what string, uids, gids userns.Map, args ...string) error {
	var out, errs strings.Builder
	cmd := userns.Command(context.Background(), append([]string{withinVerb}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := userns.RunIn(cmd, uids, gids)
	if said := strings.TrimPrefix(strings.TrimSpace(errs.String()), "sbx: "); err != nil && said != "" {
		return errors.New(said)
	}
	if err != nil {
		return fmt.Errorf("with the ids of %s: %w", what, err)
	}
	fmt.Fprint(inv.Out, out.String())
	return nil
}

// withinVerb is the verb by which sbx starts itself among the ids of an overlay.
const withinVerb = "__within"

// WithinCommand is the verb by which sbx starts itself among the ids of an overlay.
func WithinCommand() cli.Command {
	return cli.Command{
		Name: withinVerb, Args: "WHAT DIR [NAME]", Hidden: true, Strict: true, Summary: "work on files of subordinate ids",
		Long:    "Do one thing to an overlay's directory in a user namespace that sbx has made for it.",
		Example: "sbx __within remove DIR",
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				if err := userns.Await(); err != nil {
					return err
				}
				if len(inv.Args) < 2 {
					return cli.Usagef("what, and where?")
				}
				name := ""
				if len(inv.Args) > 2 {
					name = inv.Args[2]
				}
				return onOverlay(inv, inv.Args[0], inv.Args[1], name)
			}
		},
	}
}

// onOverlay does one thing to the overlay, or the volume, in dir.
func onOverlay(inv *cli.Invocation, what, dir, name string) error {
	switch what {
	case "remove":
		return removeOverlay(dir)
	case "remove-spent":
		return removeSpent(dir)
	case "remove-volume":
		return upper.RemoveAll(dir)
	}
	h, err := upper.Hold(dir)
	if err != nil {
		return err
	}
	defer h.Close()
	if what == "restore" {
		return h.Restore(name)
	}
	if name, err = h.Snapshot(name); err == nil {
		fmt.Fprintln(inv.Out, name)
	}
	return err
}
