package changes

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/overlay/patch"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

type compareOptions struct {
	form     int
	all      bool
	exitCode bool
}

// CompareCommand is the verb compare.
func CompareCommand() cli.Command {
	return cli.Command{
		Name: "compare", Args: "[FLAGS] A B [PATH...]", Summary: "show where two overlays of one directory differ",
		Long: "Show what differs between what the overlays A and B make of the same directory, as after sbx fork: < is what only A changed, > what only B changed, * what both changed and differently. " +
			"Times are not compared. Of PATHs, only what is in them.",
		Example: "sbx compare fork-x7kq-1 fork-x7kq-2\nsbx compare --patch fork-x7kq-1 fork-x7kq-2 src",
		Words: func(args []string) []cli.Candidate {
			if len(args) < 2 {
				return overlays.Names(args)
			}
			return []cli.Candidate{{Word: "@file", Doc: ""}}
		},
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var o compareOptions
			form := forms(fs, &o.form)
			form("patch", "p", formPatch, "as a patch in git's format, from A's files to B's")
			form("name-only", "", formNames, "the paths alone, a line each, quoted as git does")
			form("json", "", formJSON, "as JSON")
			cli.AddSwitch(fs, &o.all, "all", "a", cli.GroupOutput, "also what both changed alike, with =")
			cli.AddSwitch(fs, &o.exitCode, "exit-code", "", cli.GroupOutput, "exit status 1 if they differ")
			return func(inv *cli.Invocation) error {
				if len(inv.Args) < 2 {
					return cli.Usagef("which two? usage: sbx %s", inv.Verb.Usage())
				}
				return compare(inv, &o)
			}
		},
	}
}

func compare(inv *cli.Invocation, o *compareOptions) error {
	var sides [2]*Layers
	for i := range sides {
		r, s, err := overlays.Named(inv, inv.Args[i])
		if err == nil && r.Restoring != "" {
			err = r.Unfinished()
		}
		if err != nil {
			return err
		}
		if sides[i], err = OpenLayers(inv, s, r, inv.Args[2:], true); err != nil {
			return err
		}
		defer sides[i].Close()
		if err := sides[i].Walk(false, nil); err != nil {
			return err
		}
		if sides[i].Denied() && !inv.Among {
			return WithIDs(inv, r, inv.Words)
		}
		if upper.Running(sides[i].Dir) {
			Note(inv, "a sandbox runs on %s; what it does meanwhile may be missing", r.Name)
		}
	}
	return compareSides(inv, sides[0], sides[1], o)
}

// compared is a layer of both overlays, and where they differ.
type compared struct {
	target string
	a, b   *layer
	pairs  []change.Pair
}

func compareSides(inv *cli.Invocation, a, b *Layers, o *compareOptions) error {
	var list []compared
	differ := false
	for i := range a.List {
		for j := range b.List {
			x, y := &a.List[i], &b.List[j]
			if x.Tree.Top != y.Tree.Top || x.Tree.Image != y.Tree.Image {
				continue
			}
			for _, l := range []*layer{x, y} {
				for _, p := range l.List.Problems {
					Note(inv, "%s: not compared: %s", screen.Quoted(ShownPath(p.Path)), p.Why)
				}
			}
			pairs, err := change.Compare(x.List, y.List, x.Tree.Source(), y.Tree.Source())
			if err != nil {
				return err
			}
			var kept []change.Pair
			for _, p := range pairs {
				differ = differ || p.Where != change.Alike
				if p.Where != change.Alike || o.all {
					kept = append(kept, p)
				}
			}
			list = append(list, compared{x.Tree.Target, x, y, kept})
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("the two are overlays of different directories, %s and %s", a.over(), b.over())
	}
	if o.exitCode && differ {
		inv.Status = cli.ExitFound
	}
	return showCompared(inv, list, a.Record.Name, b.Record.Name, o)
}

// over is what the layers that were opened lie over, for people.
func (ls *Layers) over() string {
	var tops []string
	for i := range ls.List {
		tops = append(tops, ls.List[i].Tree.Top)
	}
	if len(tops) == 0 {
		return "none that can be compared"
	}
	return strings.Join(tops, ", ")
}

func showCompared(inv *cli.Invocation, list []compared, a, b string, o *compareOptions) error {
	if o.form == formJSON {
		return comparedJSON(inv, list, a, b)
	}
	signs := map[change.Where]string{change.Left: "<", change.Right: ">", change.Both: "*", change.Alike: "="}
	for _, c := range list {
		if len(list) > 1 && o.form != formNames {
			fmt.Fprintf(inv.Out, "# in %s\n", patch.Quote(c.target))
		}
		for _, p := range c.pairs {
			switch o.form {
			case formNames:
				fmt.Fprintln(inv.Out, patch.Quote(ShownPath(p.Path)))
			case formPatch:
				if err := comparedPatch(inv, &c, &p); err != nil {
					return err
				}
			default:
				line := Listed{Letter: signs[p.Where], Name: screen.Quoted(ShownPath(p.Path)), More: "(" + bothKinds(&p) + ")"}
				fmt.Fprintln(inv.Out, line.Paint(inv.Out))
			}
		}
	}
	return nil
}

// bothKinds is what happened to a path on each side.
func bothKinds(p *change.Pair) string {
	kind := func(c *change.Change) string {
		if c.Kind == change.Typed {
			return "now a " + string(c.Type)
		}
		return string(c.Kind)
	}
	switch {
	case p.Right == nil:
		return kind(p.Left)
	case p.Left == nil:
		return kind(p.Right)
	case p.Left.Kind == p.Right.Kind && p.Left.Type == p.Right.Type:
		return kind(p.Left)
	}
	return kind(p.Left) + ", " + kind(p.Right)
}

// comparedPatch prints the way from A's file to B's.
func comparedPatch(inv *cli.Invocation, c *compared, p *change.Pair) error {
	x, err := seen(c.a, p.Path, p.Left, p.Right)
	if err != nil {
		return err
	}
	y, err := seen(c.b, p.Path, p.Right, p.Left)
	if err != nil {
		return err
	}
	var list []*patch.Patch
	switch {
	case x == nil && y == nil:
	case x != nil && y != nil && (x.Mode == patch.Link) != (y.Mode == patch.Link):
		list = append(list, patch.Make(x, nil), patch.Make(nil, y))
	case x == nil || y == nil || x.Mode != y.Mode || x.Large || y.Large || string(x.Text) != string(y.Text):
		list = append(list, patch.Make(x, y))
	}
	for _, p := range list {
		if err := PrintPatch(inv, inv.Out, p); err != nil {
			return err
		}
	}
	return nil
}

// seen is what a path is in an overlay: what its layer has, or the host's file
// that the other one changed; nil if there is no file.
func seen(l *layer, path string, own, other *change.Change) (*patch.File, error) {
	src := l.Tree.Source()
	switch {
	case own != nil && own.Gone():
		return nil, nil
	case own != nil:
		return file(src.Upper, path, &own.Now)
	case other.Was != "":
		return file(src.Lower, path, &other.Before)
	}
	return nil, nil
}

// PrintPatch prints a patch, in colours on a terminal.
func PrintPatch(inv *cli.Invocation, w io.Writer, p *patch.Patch) error {
	show := screen.IsTerminal(w)
	var err error
	p.Each(func(piece patch.Piece, s string) {
		if show {
			s = screen.Paint(w, patchColours[piece], screen.Printable(strings.TrimSuffix(s, "\n"))) + "\n"
		}
		if err == nil {
			_, err = io.WriteString(w, s)
		}
	})
	return err
}

func comparedJSON(inv *cli.Invocation, list []compared, a, b string) error {
	type pair struct {
		Path  string       `json:"path"`
		Bytes []byte       `json:"path_bytes,omitempty"`
		Where change.Where `json:"where"`
		Left  *change.JSON `json:"left,omitempty"`
		Right *change.JSON `json:"right,omitempty"`
	}
	type layer struct {
		Target string `json:"target"`
		Paths  []pair `json:"paths"`
	}
	x := struct {
		Schema int     `json:"schema"`
		Left   string  `json:"left"`
		Right  string  `json:"right"`
		Layers []layer `json:"layers"`
	}{1, a, b, []layer{}}
	for _, c := range list {
		l := layer{c.target, []pair{}}
		for _, p := range c.pairs {
			out := pair{Path: p.Path, Where: p.Where}
			for _, s := range []struct {
				from *change.Change
				to   **change.JSON
			}{{p.Left, &out.Left}, {p.Right, &out.Right}} {
				if s.from != nil {
					j := s.from.JSON()
					*s.to, out.Bytes = &j, j.Bytes
				}
			}
			l.Paths = append(l.Paths, out)
		}
		x.Layers = append(x.Layers, l)
	}
	return inv.PrintJSON(x)
}
