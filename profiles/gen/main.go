// Command gen writes the generated files of package profiles; go generate runs
// it in the package's directory.
package main

import (
	"fmt"
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
	return os.WriteFile("builtin_tables.go", tables, 0o644)
}
