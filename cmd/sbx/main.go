// A run lives for milliseconds and its own work is not parallel: the runtime
// need not read the limits of its cgroup to choose a number of threads.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command sbx runs programs in rootless sandboxes described by TOML profiles.
package main

import "os"

func main() { os.Exit(sbx(os.Args[1:], os.Stdout, os.Stderr)) }
