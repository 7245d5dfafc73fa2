package host

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// PlumbingNames are the programs of sbx's own that Plumbing finds.
var PlumbingNames = []string{"sbx-net", "sbx-scope", "sbx-store"}

// PlumbingDirs are where the programs of sbx's own lie whose binary is exe: beside it,
// or where `make install` puts them.
func PlumbingDirs(exe string) []string {
	dir := filepath.Dir(exe)
	return []string{dir, filepath.Join(dir, "../libexec/sbx")}
}

// Plumbing finds a program of sbx's own beside the running binary exe, or where
// `make install` puts it. PATH has no say in it.
func Plumbing(exe, name string) (string, error) {
	if exe == "" {
		return "", fmt.Errorf("%s can't be found, since where sbx itself lies is not known", name)
	}
	dirs := PlumbingDirs(exe)
	for _, dir := range dirs {
		if path := filepath.Join(dir, name); unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is installed neither beside %s nor in %s", name, exe, dirs[1])
}
