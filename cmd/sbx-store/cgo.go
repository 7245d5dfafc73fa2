//go:build cgo

package main

import (
	"fmt"
	"os"
)

// main is there so that go build ./... works where there is a C compiler, too.
// With cgo, what keeps images wants headers of C libraries that sbx has no use for.
func main() {
	fmt.Fprintln(os.Stderr, "sbx-store: it was built with cgo and keeps no images; build it by make build, or with CGO_ENABLED=0")
	os.Exit(1)
}
