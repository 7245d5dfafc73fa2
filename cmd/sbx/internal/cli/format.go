package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
)

// A listing is printed as a table for people, as JSON, or by a template: the part
// of docker's and podman's templates that people use in scripts,
//
//	{{.Name}} {{.State.ExitCode}} {{json .Labels}} {{.}}
//
// with \t and \n, and "table " before it for a table with headings. Names of
// fields are those of the JSON; case and underscores do not matter. text/template
// would keep every method of the program alive; see test/deptest.

// FormatFlag declares --format.
func FormatFlag(fs *pflag.FlagSet, into *string, short string, words ...string) {
	AddFlag(fs, Flag{Name: "format", Short: short, Arg: "FORMAT", Group: GroupOutput, Usage: "json, or a template such as '{{.ID}} {{.Name}}'", Words: append([]string{"json"}, words...), Set: func(s string) error {
		if s != "json" && !strings.Contains(s, "{{") {
			return fmt.Errorf("%q is neither json nor a template such as '{{.ID}} {{.Name}}'", s)
		}
		if s != "json" {
			if _, err := ParseTemplate(strings.TrimPrefix(s, "table ")); err != nil {
				return err
			}
		}
		*into = s
		return nil
	}})
}

// AnyNumber of arguments is taken.
const AnyNumber = math.MaxInt

// TextOrJSON declares --format of a verb that takes at most so many arguments
// and prints either text or JSON.
func TextOrJSON(fs *pflag.FlagSet, most int, do func(inv *Invocation, asJSON bool) error) func(*Invocation) error {
	format := "text"
	AddWord(fs, &format, "format", "FORMAT", GroupOutput, "text or json", "text", "json")
	return func(inv *Invocation) error {
		if err := inv.Max(most); err != nil {
			return err
		}
		return do(inv, format == "json")
	}
}

// Piece is a part of a template: text as it stands, or a field.
type Piece struct {
	text  string
	path  []string // nil for text; empty for all
	field bool
	json  bool
}

// ParseTemplate takes a --format apart.
func ParseTemplate(s string) ([]Piece, error) {
	var list []Piece
	for {
		before, rest, found := strings.Cut(s, "{{")
		if before != "" {
			list = append(list, Piece{text: strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(before)})
		}
		if !found {
			return list, nil
		}
		inner, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return nil, errors.New("a template's {{ has no }}")
		}
		p := Piece{field: true}
		words := strings.Fields(inner)
		if len(words) == 2 && words[0] == "json" {
			p.json, words = true, words[1:]
		}
		if len(words) != 1 || words[0][0] != '.' || strings.ContainsAny(words[0], "|()\"") {
			return nil, fmt.Errorf("{{%s}} can't be understood; a template has fields, {{.Name}}, {{.State.ExitCode}}, and {{json .Labels}}", inner)
		}
		if words[0] != "." {
			p.path = strings.Split(words[0][1:], ".")
		}
		list, s = append(list, p), after
	}
}

// fold makes ExitCode and exit_code the same.
func fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// lookup finds a field in what was decoded from JSON.
func (p *Piece) lookup(v any) (any, error) {
	for i, name := range p.path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("there is no field .%s: .%s has no fields", strings.Join(p.path, "."), strings.Join(p.path[:i], "."))
		}
		found := false
		var names []string
		for key, value := range m {
			names = append(names, key)
			if fold(key) == fold(name) {
				v, found = value, true
				break
			}
		}
		if !found {
			slices.Sort(names)
			return nil, fmt.Errorf("there is no field .%s; there are: %s", strings.Join(p.path[:i+1], "."), strings.Join(names, ", "))
		}
	}
	return v, nil
}

// Execute fills a template in.
func Execute(pieces []Piece, v any) (string, error) {
	var b strings.Builder
	for _, p := range pieces {
		if !p.field {
			b.WriteString(p.text)
			continue
		}
		value, err := p.lookup(v)
		if err != nil {
			return "", err
		}
		text, plain := value.(string)
		if p.json || !plain {
			raw, err := json.Marshal(value)
			if err != nil {
				return "", err
			}
			text = string(screen.Escape(raw))
			if value == nil && !p.json {
				text = ""
			}
		}
		b.WriteString(screen.Line(text)) // it may come from inside, and is not to look like more lines
	}
	return b.String(), nil
}

// Generic is v as its JSON says, with numbers as they stand.
func Generic(v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var g any
	return g, errors.Join(d.Decode(&g))
}

// List prints rows by a format, "" for the table.
func List[T any](inv *Invocation, rows []T, format string, table func([]T) [][]string) error {
	switch {
	case format == "":
		return inv.Table(table(rows))
	case format == "json":
		if rows == nil {
			rows = []T{}
		}
		return inv.PrintJSON(rows)
	}
	template, headed := strings.CutPrefix(format, "table ")
	pieces, err := ParseTemplate(template)
	if err != nil {
		return err
	}
	var cells [][]string
	if headed {
		var b strings.Builder
		for _, p := range pieces {
			if p.field && len(p.path) > 0 {
				b.WriteString(strings.ToUpper(p.path[len(p.path)-1]))
			} else {
				b.WriteString(p.text)
			}
		}
		cells = append(cells, strings.Split(b.String(), "\t"))
	}
	for _, r := range rows {
		var line string
		g, err := Generic(r)
		if err == nil {
			line, err = Execute(pieces, g)
		}
		if err != nil {
			return err
		}
		if headed {
			cells = append(cells, strings.Split(line, "\t"))
		} else if _, err := fmt.Fprintln(inv.Out, line); err != nil {
			return err
		}
	}
	if headed {
		return inv.Table(cells)
	}
	return nil
}

// Table prints rows in columns, the first as headings. On a terminal what is too
// wide for it is cut, so that a row is a line.
func (inv *Invocation) Table(rows [][]string) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			row[i] = strings.ReplaceAll(screen.Printable(cell), "\n", " ")
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	most := columns(inv.Out)
	var b strings.Builder
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+3))
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if runes := []rune(text); most > 0 && len(runes) > most {
			text = string(runes[:most-1]) + "…"
		}
		if n == 0 {
			text = screen.Paint(inv.Out, screen.Bold, text)
		}
		b.WriteString(text + "\n")
	}
	_, err := io.WriteString(inv.Out, b.String())
	return err
}

// columns is how wide the terminal w is, 0 if it is none.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col < 20 {
		return 0
	}
	return int(size.Col)
}
