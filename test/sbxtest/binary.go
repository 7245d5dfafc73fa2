package sbxtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// Sbx is the path of the sbx under test: SBX_BIN, else cmd/sbx as it is in the
// checkout now, built once in each test process.
func Sbx(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SBX_BIN"); path != "" {
		return filepath.Abs(path)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil { // HOME is not set
		cache = filepath.Join(os.TempDir(), "sbx-test-"+strconv.Itoa(os.Getuid()))
	}
	// One directory for all, so that nothing piles up. Packages are tested at
	// the same time: each binary is renamed into place whole.
	dir := filepath.Join(cache, "sbx-test")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", tmp+"/", "./cmd/...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building ./cmd/...: %w\n%s", err, out)
	}
	binaries, err := os.ReadDir(tmp)
	if err != nil {
		return "", err
	}
	for _, b := range binaries {
		if err := os.Rename(filepath.Join(tmp, b.Name()), filepath.Join(dir, b.Name())); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "sbx"), nil
})

// Checkout is the directory of the checkout.
func Checkout(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// moduleRoot looks for go.mod from the test's directory upwards.
var moduleRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the test's directory")
		}
		dir = up
	}
})
