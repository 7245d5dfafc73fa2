package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// InSandbox reports whether this process is in a sandbox of sbx's already. The
// environment is not asked: a Makefile can set it before its recipes are run.
// PID 1's name can only be seen to be another where there is no /proc.
func InSandbox() bool { return InSandboxSeen(nil) }

// InSandboxSeen is InSandbox; what was looked at is remembered in log.
func InSandboxSeen(log *seen.Log) bool {
	name, err := log.Text("/proc/1/comm")
	return err == nil && name == "sbx-init\n"
}

// BecomeProgram replaces this process by a program of the host, with the
// environment as it is.
func BecomeProgram(path string, argv []string) error {
	run.Settle() // what the entry has started for a sandbox is not for the program
	err := unix.Exec(path, argv, os.Environ())
	return &execError{path, err}
}

// execError is a program that could not be executed in place of sbx.
type execError struct {
	path string
	err  error
}

func (e *execError) Error() string { return fmt.Sprintf("executing %s: %v", e.path, e.err) }

func (e *execError) Unwrap() error { return e.err }

// FindProgram looks name up in the directories of PATH but for those in skip,
// which may have several names. "" = it is in none of them. What is looked at is
// remembered in log, which may be nil.
func FindProgram(log *seen.Log, name string, skip ...string) string {
	var left []unix.Stat_t
	for _, dir := range skip {
		if st, err := log.Stat(dir); err == nil {
			left = append(left, st)
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if dir == "" {
			dir = "."
		}
		st, err := log.Stat(dir)
		if err != nil || slices.ContainsFunc(left, func(l unix.Stat_t) bool { return l.Dev == st.Dev && l.Ino == st.Ino }) {
			continue
		}
		path := filepath.Join(dir, name)
		if !strings.Contains(path, "/") {
			path = "./" + path
		}
		if st, err := log.Stat(path); err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return ""
}

// Rename gives this process the program's name, after it was started by way of
// /proc/self/exe.
func Rename() {
	if f, err := os.OpenFile("/proc/self/comm", os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteString("sbx")
		f.Close()
	}
}
