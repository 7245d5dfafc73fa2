package host

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Plumbing finds a program of sbx's own beside the running binary exe, or where
// `make install` puts it. PATH has no say in it.
func Plumbing(exe, name string) (string, error) {
	if exe == "" {
		return "", fmt.Errorf("%s can't be found, since where sbx itself lies is not known", name)
	}
	dir := filepath.Dir(exe)
	for _, path := range []string{filepath.Join(dir, name), filepath.Join(dir, "../libexec/sbx", name)} {
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is installed neither beside %s nor in %s", name, exe, filepath.Join(dir, "../libexec/sbx"))
}
