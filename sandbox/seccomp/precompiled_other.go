//go:build !amd64 && !arm64

package seccomp

var filters [0]filter
