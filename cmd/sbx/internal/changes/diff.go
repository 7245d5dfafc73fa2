// Package changes shows what an overlay's layers changed, and how two of them differ.
package changes

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/apply"
	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/overlay/patch"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// The forms of diff's output.
const (
	formList = iota
	formNames
	formStat
	formPatch
	formJSON
)

type diffOptions struct {
	form     int
	null     bool // names end in NUL
	exitCode bool
}

// DiffCommand is the verb diff.
func DiffCommand() cli.Command {
	return cli.Command{
		Name: "diff", Args: "[FLAGS] [NAME] [PATH...]", Summary: "show what was changed in an overlay",
		Long: "Show what the commands that ran on the overlay NAME, by default the last one of this directory, added, changed and deleted, " +
			"compared with what the host has now. Of PATHs, only what is in them. " +
			"Marked with ! is what sbx apply would hold back, and why.",
		Example: "sbx diff\nsbx diff --patch src\nsbx diff --exit-code --name-only",
		Words:   OverlayOrFile,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var o diffOptions
			form := forms(fs, &o.form)
			form("patch", "p", formPatch, "as a patch in git's format, which git apply takes")
			form("stat", "", formStat, "how many lines differ in each file")
			form("name-only", "", formNames, "the paths alone, a line each, quoted as git does")
			cli.AddSwitch(fs, &o.null, "null", "z", cli.GroupOutput, "with --name-only: paths as they are, each with a NUL after it")
			form("json", "", formJSON, "as JSON")
			cli.AddSwitch(fs, &o.exitCode, "exit-code", "", cli.GroupOutput, "exit status 1 if anything was changed")
			return func(inv *cli.Invocation) error {
				if o.null && o.form != formNames {
					return cli.Usagef("-z goes with --name-only")
				}
				return diff(inv, &o)
			}
		},
	}
}

// forms declares flags that choose a form of the output, of which one can hold.
func forms(fs *pflag.FlagSet, into *int) func(name, short string, form int, usage string) {
	chosen := ""
	return func(name, short string, form int, usage string) {
		cli.AddFlag(fs, cli.Flag{Name: name, Short: short, Group: cli.GroupOutput, Usage: usage, Set: func(string) error {
			if chosen != "" && chosen != name {
				return fmt.Errorf("it and --%s exclude each other", chosen)
			}
			chosen, *into = name, form
			return nil
		}})
	}
}

// OverlayOrFile is what can stand where an overlay's name, or paths, can.
func OverlayOrFile(args []string) []cli.Candidate {
	list := []cli.Candidate{{Word: "@file", Doc: ""}}
	if len(args) == 0 {
		list = append(overlays.Names(args), list...)
	}
	return list
}

func diff(inv *cli.Invocation, o *diffOptions) error {
	s, r, paths, err := FindOverlay(inv)
	if err != nil {
		return err
	}
	ls, err := OpenLayers(inv, s, r, paths, true)
	if err != nil {
		return err
	}
	defer ls.Close()
	if err := ls.Walk(true, nil); err != nil {
		return err
	}
	if ls.Denied() && !inv.Among {
		return WithIDs(inv, r, inv.Words)
	}
	if upper.Running(ls.Dir) {
		Note(inv, "a sandbox runs on %s; what it does meanwhile may be missing", r.Name)
	}
	n := 0
	for i := range ls.List {
		l := &ls.List[i]
		n += len(l.List.Changes)
		for _, p := range l.List.Problems {
			Note(inv, "%s: not compared: %s", screen.Quoted(screen.Near(path.Join(l.Tree.Top, p.Path))), p.Why)
		}
		if l.Tree.Interrupted() {
			Note(inv, "an apply to %s was interrupted; sbx apply, or sbx apply --abort, puts things in order", l.Tree.Top)
		}
	}
	if o.exitCode && n > 0 {
		inv.Status = cli.ExitFound
	}
	return showDiff(inv, ls, o)
}

// Note says something that is no error. What is in it may be a path from inside,
// which can be as long as somebody there likes.
func Note(inv *cli.Invocation, format string, args ...any) {
	text := screen.Printable(fmt.Sprintf(format, args...))
	if r := []rune(text); len(r) > longestNote {
		text = string(r[:longestNote/2]) + "…" + string(r[len(r)-longestNote/2:])
	}
	fmt.Fprintf(inv.Err, "%s %s\n", screen.Paint(inv.Err, screen.Yellow, "sbx:"), text)
}

// longestNote is in characters. The reason stands at the end.
const longestNote = 1000

func showDiff(inv *cli.Invocation, ls *Layers, o *diffOptions) error {
	switch o.form {
	case formJSON:
		return diffJSON(inv, ls)
	case formPatch:
		return diffPatch(inv, ls)
	case formStat:
		return diffStat(inv, ls)
	case formNames:
		return diffNames(inv, ls, o.null)
	}
	for i := range ls.List {
		l := &ls.List[i]
		if len(ls.List) > 1 {
			fmt.Fprintf(inv.Out, "%s\n", screen.Printable(screen.Paint(inv.Out, screen.Bold, l.Tree.Target)))
		}
		items, err := l.Tree.Judge(l.List, &apply.Rules{}, inv.Env.Home)
		if err != nil {
			return err
		}
		for _, line := range itemLines(items) {
			fmt.Fprintln(inv.Out, line.Paint(inv.Out))
		}
	}
	return nil
}

func diffNames(inv *cli.Invocation, ls *Layers, null bool) error {
	for i := range ls.List {
		l := &ls.List[i]
		for j := range l.List.Changes {
			p := l.List.Changes[j].Path
			if p == "" {
				p = "."
			}
			if len(ls.List) > 1 {
				p = path.Join(l.Tree.Top, p)
			}
			end := "\n"
			if null {
				end = "\x00"
			} else {
				p = patch.Quote(p)
			}
			if _, err := io.WriteString(inv.Out, p+end); err != nil {
				return err
			}
		}
	}
	return nil
}

// JSONItem is a change, and what apply would make of it.
type JSONItem struct {
	change.JSON
	Verdict apply.Verdict `json:"verdict"`
	Gate    apply.Gate    `json:"gate,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Strip   []string      `json:"strip,omitempty"`
	Who     string        `json:"run_by,omitempty"`
}

// JSONLayer is one layer's changes for programs.
type JSONLayer struct {
	Target   string           `json:"target"`
	Tree     string           `json:"tree"`
	Changes  []JSONItem       `json:"changes"`
	Problems []change.Problem `json:"problems"`
}

// JSONItems are changes as JSON has them.
func JSONItems(items []apply.Item) []JSONItem {
	list := make([]JSONItem, 0, len(items))
	for i := range items {
		it := &items[i]
		list = append(list, JSONItem{it.JSON(), it.Verdict, it.Gate, it.Reason, it.Strip, it.Who})
	}
	return list
}

func diffJSON(inv *cli.Invocation, ls *Layers) error {
	x := struct {
		Schema  int         `json:"schema"`
		Overlay string      `json:"overlay"`
		Driver  string      `json:"driver"`
		Layers  []JSONLayer `json:"layers"`
	}{1, ls.Record.Name, ls.Record.Driver, []JSONLayer{}}
	for i := range ls.List {
		l := &ls.List[i]
		items, err := l.Tree.Judge(l.List, &apply.Rules{}, inv.Env.Home)
		if err != nil {
			return err
		}
		x.Layers = append(x.Layers, JSONLayer{l.Tree.Target, l.Tree.Top, JSONItems(items), append([]change.Problem{}, l.List.Problems...)})
	}
	return inv.PrintJSON(x)
}

// diffPatch prints all that a patch can say, and names the rest.
func diffPatch(inv *cli.Invocation, ls *Layers) error {
	for i := range ls.List {
		l := &ls.List[i]
		if len(ls.List) > 1 {
			fmt.Fprintf(inv.Out, "# in %s\n", patch.Quote(l.Tree.Top))
		}
		left := 0
		err := l.patches(func(p *patch.Patch) error { return PrintPatch(inv, inv.Out, p) }, func(*change.Change) { left++ })
		if err != nil {
			return err
		}
		if left > 0 {
			Note(inv, "%s that git's format can't say not in the patch; sbx diff lists all", Plural(left, "change", "changes"))
		}
	}
	return nil
}

var patchColours = map[patch.Piece]string{patch.Header: screen.Bold, patch.Hunk: "36", patch.Same: "0", patch.Minus: "31", patch.Plus: "32"}

// Plural is n with the word for one or for more.
func Plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// diffStat prints how many lines differ in each file.
func diffStat(inv *cli.Invocation, ls *Layers) error {
	const bar = 40
	type row struct {
		name        string
		plus, minus int
		binary      bool
	}
	var rows []row
	width, most, plus, minus := 0, 0, 0, 0
	for i := range ls.List {
		l := &ls.List[i]
		err := l.patches(func(p *patch.Patch) error {
			r := row{patch.Quote(p.Path), p.Added, p.Gone, p.Binary}
			rows = append(rows, r)
			width, most = max(width, len(r.name)), max(most, r.plus+r.minus)
			plus, minus = plus+r.plus, minus+r.minus
			return nil
		}, func(*change.Change) {})
		if err != nil {
			return err
		}
	}
	for _, r := range rows {
		if r.binary {
			fmt.Fprintf(inv.Out, " %-*s | binary\n", width, r.name)
			continue
		}
		p, m := r.plus, r.minus
		if most > bar { // a file with any has at least one
			p, m = (p*bar+most-1)/most, (m*bar+most-1)/most
		}
		fmt.Fprintf(inv.Out, " %-*s | %5d %s%s\n", width, r.name, r.plus+r.minus,
			screen.Paint(inv.Out, screen.Green, strings.Repeat("+", p)), screen.Paint(inv.Out, "31", strings.Repeat("-", m)))
	}
	_, err := fmt.Fprintf(inv.Out, " %s, %s(+), %s(-)\n", Plural(len(rows), "file", "files"), Plural(plus, "insertion", "insertions"), Plural(minus, "deletion", "deletions"))
	return err
}
