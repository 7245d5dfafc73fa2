// Package table prints rows of text in aligned columns, plain or as Markdown.
package table

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is a heading and rows of the same width. The first column is flush left,
// the others flush right. A row shorter than the heading ends with its last cell,
// which is flush left and as long as it likes: a remark.
type Table struct {
	Head []string
	Rows [][]string
}

// Add appends one row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

func (t *Table) widths() []int {
	w := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, cell := range row {
			if len(row) == len(t.Head) || i < len(row)-1 {
				w[i] = max(w[i], utf8.RuneCountInString(cell))
			}
		}
	}
	return w
}

// Text writes the table with two blanks between columns.
func (t *Table) Text(out io.Writer) error {
	w := t.widths()
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		var line strings.Builder
		for i, cell := range row {
			switch remark := len(row) < len(t.Head) && i == len(row)-1; {
			case i == 0:
				fmt.Fprintf(&line, "%-*s", w[i], cell)
			case remark:
				line.WriteString("  " + cell)
			default:
				fmt.Fprintf(&line, "  %*s", w[i], cell)
			}
		}
		if _, err := fmt.Fprintln(out, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// Markdown writes the table as a Markdown table; short rows are filled up.
func (t *Table) Markdown(out io.Writer) error {
	line := func(cells []string) string {
		cells = append(append([]string{}, cells...), make([]string, len(t.Head)-len(cells))...)
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
		}
		return "| " + strings.Join(cells, " | ") + " |\n"
	}
	var b strings.Builder
	b.WriteString(line(t.Head))
	b.WriteString("|---|" + strings.Repeat("---:|", len(t.Head)-1) + "\n")
	for _, row := range t.Rows {
		b.WriteString(line(row))
	}
	_, err := io.WriteString(out, b.String())
	return err
}
