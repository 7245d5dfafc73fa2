package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// hog takes as many MiB as it is told, uses every page of them and says so.
func hog(args []string) {
	n, _ := strconv.Atoi(args[0])
	b, err := unix.Mmap(-1, 0, n<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	say(err)
}
