//go:build !cgo

package run

const withCgo = false
