// Command sbx runs programs in rootless sandboxes described by TOML profiles.
package main

import "os"

func main() { os.Exit(sbx(os.Args[1:], os.Stdout, os.Stderr)) }
