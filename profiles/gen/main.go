// Command gen writes the generated files of package profiles; go generate runs
// it in the package's directory.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"

	"github.com/sbx-sandbox/sbx/profiles"
)

func main() {
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate() error {
	tables, err := profiles.Tables(os.DirFS("builtin"))
	if err != nil {
		return err
	}
	if tables, err = format.Source(tables); err != nil {
		return err
	}
	if err := os.WriteFile("builtin_tables.go", tables, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile("sbx.schema.json", profiles.Schema(), 0o644); err != nil {
		return err
	}
	return reference("../docs/PROFILES.md")
}

// reference replaces the table of keys in a document.
func reference(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := []byte("<!-- keys: generated -->\n"), []byte("<!-- keys: end -->")
	before, rest, ok := bytes.Cut(text, begin)
	_, after, found := bytes.Cut(rest, end)
	if !ok || !found {
		return fmt.Errorf("%s: the marks around the table of keys are missing", path)
	}
	return os.WriteFile(path, bytes.Join([][]byte{before, begin, profiles.Reference(), end, after}, nil), 0o644)
}
