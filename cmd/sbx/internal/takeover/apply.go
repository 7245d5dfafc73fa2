// Package takeover takes changes of an overlay over to the host.
package takeover

import (
	"errors"
	"fmt"
	"path"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/changes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/apply"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

const gChoice = "Choice"

// Options are what apply is told.
type Options struct {
	apply.Rules
	interactive   bool
	dry           bool
	abort         bool
	skipConflicts bool
	jsonOut       bool
}

// ApplyCommand is the verb apply.
func ApplyCommand() cli.Command {
	return cli.Command{
		Name: "apply", Args: "[FLAGS] [NAME] [PATH...]", Summary: "take over what was changed in an overlay",
		Long: "Make the host's files what they are in the overlay NAME, by default the last one of this directory. Of PATHs, only what is in them. " +
			"Where the host's file changed as well since the sandbox started, nothing is taken over at all. " +
			"Held back and named are files that the host runs later, links that lead out of the tree, and what is no file; " +
			"set-user-ID bits and attributes that give rights are left out. " +
			"Either all the rest is taken over or nothing is; killed anywhere, the next sbx apply puts the host's files back first. " +
			"What was taken over is gone from the overlay, and with the last of it the overlay itself, unless somebody gave it its name.",
		Example: "sbx apply --dry-run\nsbx apply --only 'src/**' --exclude '*.o'\nsbx apply --interactive",
		Words:   changes.OverlayOrFile,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var o Options
			glob := func(into *[]apply.Glob) func(string) error {
				return func(s string) error {
					g, err := apply.ParseGlob(s)
					if err == nil {
						*into = append(*into, g)
					}
					return err
				}
			}
			cli.AddFlag(fs, cli.Flag{Name: "only", Arg: "GLOB", Group: gChoice, Usage: "only what the pattern matches, as in .gitignore; a path that it names by itself is taken over even if the host runs it later", Set: glob(&o.Only)})
			cli.AddFlag(fs, cli.Flag{Name: "exclude", Arg: "GLOB", Group: gChoice, Usage: "not what the pattern matches", Set: glob(&o.Exclude)})
			cli.AddSwitch(fs, &o.interactive, "interactive", "i", gChoice, "ask about each file")
			cli.AddSwitch(fs, &o.Triggers, "allow-triggers", "", gChoice, "also files that the host runs later or takes orders from")
			cli.AddSwitch(fs, &o.Links, "allow-links", "", gChoice, "also links that lead out of the tree")
			cli.AddSwitch(fs, &o.skipConflicts, "skip-conflicts", "", gChoice, "leave out what changed on the host as well, and take over the rest")
			cli.AddSwitch(fs, &o.Force, "force-conflicts", "", gChoice, "take over what changed on the host as well: the host's changes are lost")
			cli.AddSwitch(fs, &o.dry, "dry-run", "n", cli.GroupOutput, "only say what would be done")
			cli.AddSwitch(fs, &o.abort, "abort", "", gChoice, "only put back what an interrupted apply left")
			cli.AddSwitch(fs, &o.jsonOut, "json", "", cli.GroupOutput, "say what was done as JSON")
			return func(inv *cli.Invocation) error {
				switch {
				case o.abort && (o.interactive || o.dry || len(o.Only)+len(o.Exclude) > 0):
					return cli.Usagef("--abort goes with no other flag")
				case o.Force && o.skipConflicts:
					return cli.Usagef("--force-conflicts and --skip-conflicts can't both hold")
				case o.interactive && o.jsonOut:
					return cli.Usagef("--interactive and --json can't both hold")
				}
				return takeOver(inv, &o)
			}
		},
	}
}

// failed is an apply that did not do what was asked, with the status of that.
type failed struct{ error }

func (failed) Code() int { return cli.ExitFound }

func (f failed) Unwrap() error { return f.error }

func takeOver(inv *cli.Invocation, o *Options) error {
	s, r, paths, err := changes.FindOverlay(inv)
	if err != nil {
		return err
	}
	if err := ApplyTo(inv, s, r, paths, o, inv.Words); err != nil || o.dry || o.abort || inv.Among {
		return err
	}
	gone, err := overlays.DiscardSpent(inv, s, r)
	switch {
	case err != nil:
		changes.Note(inv, "the changes were taken over; removing the overlay %s, in which nothing is left: %v", r.Name, err)
	case gone && !o.jsonOut:
		changes.Note(inv, "nothing is left in %s, so it is gone", r.Name)
	}
	return nil
}

// ApplyTo applies the overlay of r. words are the command line that does the same.
func ApplyTo(inv *cli.Invocation, s upper.Store, r *upper.Record, paths []string, o *Options, words []string) error {
	dir := s.Dir(r.Name)
	held, err := upper.Hold(dir)
	if err != nil {
		return failed{err}
	}
	defer held.Close()
	if r, err = s.Load(r.Name); err != nil { // as it is now that nobody else is at it
		return err
	}
	if err := hostOnly(inv, r, dir); err != nil {
		return err
	}
	ls, err := changes.OpenLayers(inv, s, r, paths, false)
	if err != nil {
		return err
	}
	defer ls.Close()
	if err := recoverLayers(inv, ls, o); err != nil || o.abort {
		return err
	}
	stop, done := changes.Interruptible()
	defer done()
	if err := ls.Walk(true, stop); err != nil {
		return err
	}
	if ls.Denied() && !inv.Among {
		done()
		ls.Close()
		held.Close()
		return changes.WithIDs(inv, r, words)
	}
	if o.interactive {
		ask, err := newAsker(inv, ls)
		if err != nil {
			return err
		}
		defer ask.close()
		o.Ask = ask.ask
	}
	return applyLayers(inv, ls, o, stop)
}

// hostOnly says what becomes of what lies over an image: that is no file of the
// host's.
func hostOnly(inv *cli.Invocation, r *upper.Record, dir string) error {
	const next = "sbx image commit makes an image of that"
	for i := range r.Layers {
		l := &r.Layers[i]
		if l.Image == "" {
			continue
		}
		if len(r.Layers) == 1 {
			return failed{fmt.Errorf("the overlay %s holds only what was written over an image; %s", r.Name, next)}
		}
		if !l.Unused(dir) {
			changes.Note(inv, "what was written over the image stays in %s; %s", r.Name, next)
		}
	}
	return nil
}

// recoverLayers ends what was interrupted.
func recoverLayers(inv *cli.Invocation, ls *changes.Layers, o *Options) error {
	found := false
	for i := range ls.List {
		t := ls.List[i].Tree
		if o.dry && t.Interrupted() {
			changes.Note(inv, "an apply to %s was interrupted; what it left is still there, since this is a dry run", t.Top)
			continue
		}
		was, err := t.Recover()
		if err != nil {
			return failed{err}
		}
		if was {
			found = true
			changes.Note(inv, "an apply to %s was interrupted; its files are in order again", t.Top)
		}
	}
	if o.abort && !found {
		changes.Note(inv, "no apply was interrupted")
	}
	return nil
}

// applyLayers judges the changes and takes over what may be.
func applyLayers(inv *cli.Invocation, ls *changes.Layers, o *Options, stop func() error) error {
	all := make([][]apply.Item, len(ls.List))
	conflicts, refused, problems := 0, 0, 0
	for i := range ls.List {
		l := &ls.List[i]
		items, err := l.Tree.Judge(l.List, &o.Rules, inv.Env.Home)
		if errors.Is(err, errQuit) {
			return nil
		}
		if err != nil {
			return err
		}
		all[i] = items
		for j := range items {
			switch items[j].Verdict {
			case apply.Conflict:
				conflicts++
			case apply.Refuse:
				refused++
			}
		}
		for _, p := range l.List.Problems {
			problems++
			changes.Note(inv, "%s: held back: %s", screen.Quoted(screen.Near(path.Join(l.Tree.Top, p.Path))), p.Why)
		}
	}
	if refused+problems > 0 || conflicts > 0 {
		inv.Status = cli.ExitFound
	}
	if conflicts > 0 && !o.skipConflicts {
		tell(inv, ls, all, o, false)
		if o.jsonOut {
			return nil
		}
		return failed{fmt.Errorf("%s on the host as well since the sandbox started, so that nothing was taken over; "+
			"--skip-conflicts leaves these out, --force-conflicts takes the sandbox's", changes.Plural(conflicts, "place changed", "places changed"))}
	}
	if !o.dry {
		for i := range ls.List {
			var left *apply.LeftError
			if err := ls.List[i].Tree.Apply(all[i], stop); errors.As(err, &left) {
				inv.Status = cli.ExitFound
				changes.Note(inv, "all was taken over, but not all of apply's own is cleared up: %v; sbx apply --abort tries again", left.Err)
			} else if err != nil {
				_ = settle(ls, i) // else the next apply does
				return applyFailed(inv, ls, i, err)
			}
		}
		if err := settle(ls, len(ls.List)); err != nil {
			changes.Note(inv, "the changes were taken over; clearing the overlay of them: %v", err)
		}
	}
	tell(inv, ls, all, o, !o.dry)
	return nil
}

// applyFailed words that nothing, or only the layers before, was taken over.
func applyFailed(inv *cli.Invocation, ls *changes.Layers, i int, err error) error {
	var busy *apply.BusyError
	what := "nothing was taken over"
	if i > 0 {
		what = "of " + ls.List[i].Tree.Target + " " + what
	}
	err = fmt.Errorf("%w; %s", err, what)
	if errors.As(err, &busy) || errors.Is(err, changes.ErrInterrupted) {
		return failed{err}
	}
	return err
}

// Hosts is how many layers lie over directories of the host's.
func Hosts(r *upper.Record) (n int) {
	for i := range r.Layers {
		if r.Layers[i].Image == "" {
			n++
		}
	}
	return n
}

// settle removes from the first n layers what is the host's now. If nothing is left
// in any, the host's files as they are now are what the sandbox sees: later changes of them
// are told from here on.
func settle(ls *changes.Layers, n int) error {
	empty := n == len(ls.List)
	for i := range ls.List[:n] {
		l := &ls.List[i]
		rest, err := change.Walk(l.Tree.Source(), change.Options{})
		if err != nil {
			return err
		}
		is, err := l.Tree.Prune(rest)
		if err != nil {
			return err
		}
		empty = empty && is
	}
	// A snapshot that is put back later is of what the host had earlier.
	if !empty || len(ls.List) != Hosts(ls.Record) || len(ls.Record.Snapshots) > 0 {
		return nil
	}
	base := upper.Now()
	ls.Record.Base = base
	if err := upper.Save(ls.Dir, ls.Record); err != nil {
		return err
	}
	for i := range ls.List {
		if err := ls.List[i].Tree.Forget(); err != nil {
			return err
		}
	}
	return nil
}

// tell says what was done, or would be.
func tell(inv *cli.Invocation, ls *changes.Layers, all [][]apply.Item, o *Options, did bool) {
	if o.jsonOut {
		x := struct {
			Schema  int                 `json:"schema"`
			Overlay string              `json:"overlay"`
			Applied bool                `json:"applied"`
			Layers  []changes.JSONLayer `json:"layers"`
		}{1, ls.Record.Name, did, []changes.JSONLayer{}}
		for i, items := range all {
			l := &ls.List[i]
			x.Layers = append(x.Layers, changes.JSONLayer{Target: l.Tree.Target, Tree: l.Tree.Top, Changes: changes.JSONItems(items), Problems: append([]change.Problem{}, l.List.Problems...)})
		}
		_ = inv.PrintJSON(x)
		return
	}
	taken := 0
	for i, items := range all {
		top, said, reason := ls.List[i].Tree.Top, "", ""
		for j := range items {
			it := &items[j]
			switch {
			case it.Verdict == apply.Take:
				taken++
				if len(it.Strip) > 0 {
					changes.Note(inv, "%s: taken over %s", screen.Quoted(screen.Near(path.Join(top, it.Path))), changes.Held(it))
				}
				if o.dry {
					line := changes.Listed{Letter: changes.Letter(it.Change), Name: screen.Quoted(changes.ShownPath(it.Path)), More: changes.Details(it.Change)}
					fmt.Fprintln(inv.Out, line.Paint(inv.Out))
				}
			case it.Verdict == apply.Refuse && it.Gate != apply.Within, it.Verdict == apply.Conflict:
				if said != "" && change.Under(it.Path, said) && it.Reason == reason {
					continue // it was said of all that is in there
				}
				said, reason = it.Path, it.Reason
				changes.Note(inv, "%s: held back: %s", screen.Quoted(screen.Near(path.Join(top, it.Path))), it.Reason)
			}
		}
	}
	switch {
	case did:
		fmt.Fprintf(inv.Out, "%s taken over\n", changes.Plural(taken, "change", "changes"))
	case o.dry:
		fmt.Fprintf(inv.Out, "%s would be taken over\n", changes.Plural(taken, "change", "changes"))
	}
	tellOpen(inv, all)
}

// tellOpen says how to take over what a gate held back that a person can open.
func tellOpen(inv *cli.Invocation, all [][]apply.Item) {
	triggers, links := 0, 0
	for _, items := range all {
		for j := range items {
			if items[j].Verdict != apply.Refuse {
				continue
			}
			switch items[j].Gate {
			case apply.Trigger:
				triggers++
			case apply.Outside:
				links++
			}
		}
	}
	if triggers > 0 {
		changes.Note(inv, "look at what the host runs later (sbx diff --patch), then name it with --only PATH, or take all of it with --allow-triggers")
	}
	if links > 0 {
		changes.Note(inv, "--allow-links takes over links that lead out of the tree")
	}
}
