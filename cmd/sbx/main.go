// What sbx does itself is not parallel; the runtime need not go on looking
// whether the limits of its cgroup changed.
//
//go:debug updatemaxprocs=0

// Command sbx runs programs in rootless sandboxes described by TOML profiles.
package main

import "os"

func main() { os.Exit(sbx(os.Args[1:], os.Stdout, os.Stderr)) }
