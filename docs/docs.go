// Package docs holds what sbx itself prints of the documents beside it, as text.
package docs

import (
	_ "embed" // for ERRORS.md
	"strings"
)

//go:embed ERRORS.md
var errorsText string

// Page is a section of a document.
type Page struct{ Name, Text string }

// Errors are the sections of ERRORS.md, one for each kind of error. The first has
// no name: it is what stands before them.
func Errors() (list []Page) {
	for i, section := range strings.Split("\n"+errorsText, "\n## ") {
		p := Page{Text: section}
		if i > 0 {
			p.Name, p.Text, _ = strings.Cut(section, "\n")
		} else { // the document's heading
			_, p.Text, _ = strings.Cut(strings.TrimSpace(section), "\n")
		}
		p.Text = strings.TrimSpace(p.Text)
		list = append(list, p)
	}
	return list
}
