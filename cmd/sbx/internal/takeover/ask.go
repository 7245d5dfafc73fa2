package takeover

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/changes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/apply"
	"github.com/sbx-sandbox/sbx/overlay/change"
)

// errQuit is that the person wants nothing taken over.
var errQuit = errors.New("nothing was taken over")

// asker asks a person about each change, as git add -p does.
type asker struct {
	inv  *cli.Invocation
	tty  *os.File
	in   *bufio.Reader
	ls   *changes.Layers
	rest bool // yes to all the rest that no gate holds back
	none bool // no to all the rest
	// under is a directory that was answered for with all that is in it.
	under  string
	answer bool
}

const askHelp = `y - take this change over
n - leave it
s - ask about each thing in the directory
a - take it over, and all that follow but those marked with !
d - leave it, and all that follow
p - show it
q - quit: take nothing over
`

// newAsker asks at the terminal, whatever standard input is.
func newAsker(inv *cli.Invocation, ls *changes.Layers) (*asker, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, cli.Usagef("--interactive needs a terminal: %w", err)
	}
	return &asker{inv: inv, tty: tty, in: bufio.NewReader(tty), ls: ls}, nil
}

func (a *asker) close() { a.tty.Close() }

// ask is apply.Rules.Ask.
func (a *asker) ask(it *apply.Item) (bool, error) {
	if yes, answered := a.answered(it); answered {
		return yes, nil
	}
	with := 0 // how much is answered for as well
	if it.Type == change.Dir && it.Kind != change.Changed || it.Was == change.Dir && it.Kind == change.Typed {
		with = a.below(it.Path)
	}
	a.describe(it, with)
	whole := with > 0
	parts := whole && it.Kind != change.Typed // what becomes something else does so as a whole
	choices := "y,n,a,d,p,q,?"
	if parts {
		choices = "y,n,s,a,d,p,q,?"
	}
	for {
		fmt.Fprint(a.tty, screen.Paint(a.tty, screen.Bold, "Take it over ["+choices+"]? "))
		text, err := a.in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return false, errQuit
		}
		if err != nil {
			return false, err
		}
		switch text = strings.TrimSpace(text); text {
		case "y", "n":
			if whole {
				a.under, a.answer = it.Path, text == "y"
			}
			return text == "y", nil
		case "s":
			if !parts {
				fmt.Fprint(a.tty, askHelp)
				continue
			}
			// A new directory comes with what is taken into it; one that is to go goes
			// if all in it does.
			return it.Kind == change.Deleted, nil
		case "a":
			a.rest = true
			return true, nil
		case "d":
			a.none = true
			return false, nil
		case "q":
			return false, errQuit
		case "p":
			if err := a.show(it.Change); err != nil {
				fmt.Fprintln(a.tty, screen.Printable(err.Error()))
			}
		default:
			fmt.Fprint(a.tty, askHelp)
		}
	}
}

// answered is what an earlier answer says of it, if one does. What is held back is
// asked about by itself, unless it is left.
func (a *asker) answered(it *apply.Item) (yes, answered bool) {
	gated := it.Verdict == apply.Refuse
	switch {
	case a.none:
		return false, true
	case a.rest:
		return !gated, true
	case a.under != "" && change.Under(it.Path, a.under) && !(gated && a.answer):
		return a.answer, true
	}
	return false, false
}

// describe prints what is asked about, and how much lies in it.
func (a *asker) describe(it *apply.Item, with int) {
	line := changes.Listed{Letter: changes.Letter(it.Change), Name: screen.Quoted(changes.ShownPath(it.Path)), More: changes.Details(it.Change), Held: changes.Held(it)}
	if with > 0 {
		line.More = strings.TrimSpace(line.More + " with " + changes.Plural(with, "thing", "things") + " in it")
	}
	if it.Who != "" && line.Held == "" {
		line.Held = it.Who
	}
	fmt.Fprintln(a.tty, line.Paint(a.tty))
}

// below is how many changes there are in a directory.
func (a *asker) below(dir string) (n int) {
	for i := range a.ls.List {
		n += len(a.ls.List[i].List.Below(dir))
	}
	return n
}

// show prints a change's patch.
func (a *asker) show(c *change.Change) error {
	for i := range a.ls.List {
		l := &a.ls.List[i]
		if l.List.Find(c.Path) != c {
			continue
		}
		shown := false
		for _, s := range l.Sides(c) {
			p, err := l.Patch(c, s)
			if err != nil {
				return err
			}
			if p == nil {
				continue
			}
			shown = true
			if err := changes.PrintPatch(a.inv, a.tty, p); err != nil {
				return err
			}
		}
		if !shown {
			fmt.Fprintln(a.tty, "there is no text to show of it")
		}
	}
	return nil
}
