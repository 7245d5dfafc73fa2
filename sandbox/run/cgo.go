//go:build cgo

package run

// withCgo: the C library registers memory of each thread with the kernel
// (rseq(2)), which writes there in the child as well. The child has no such
// memory and would crash.
const withCgo = true
