// Package firstlimit keeps the limit on open files that this process was
// started with. Package syscall raises the soft limit while it initialises and
// shows the old one to nobody; a command that sbx starts is to have what its
// caller had.
//
// The package imports nothing, so that it is initialised before syscall is:
// packages are taken in the order of their paths as soon as all they import is
// ready (The Go Programming Language Specification, "Package initialization").
package firstlimit

// Nofile is the first soft and hard RLIMIT_NOFILE, getrlimit(2); zeros if the
// call failed.
var Nofile = read()

func read() (l [2]uint64) {
	if getrlimit(&l) != 0 {
		return [2]uint64{}
	}
	return l
}

// getrlimit is prlimit64(0, RLIMIT_NOFILE, NULL, l).
//
//go:noescape
func getrlimit(l *[2]uint64) (errno uintptr)
