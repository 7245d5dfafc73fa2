// Command sbx runs programs in rootless sandboxes described by TOML profiles.
package main

func main() {}
