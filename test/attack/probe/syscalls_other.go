//go:build !amd64

package main

import "golang.org/x/sys/unix"

func oldSetIDs(func(string) uintptr) []raw { return nil }

// compatCall: calls of the 32-bit architecture take a program of its own here.
func compatCall(_, _, _ uintptr) error { return unix.ENOSYS }
