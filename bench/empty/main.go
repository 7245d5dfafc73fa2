// Command empty does nothing: the time from its start to its end is what the Go
// runtime costs before main.
package main

func main() {}
