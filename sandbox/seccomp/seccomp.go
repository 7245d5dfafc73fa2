// Package seccomp has the filters of the built-in policies, compiled: a run
// takes the bytes and installs them. What the policies say, and how they become
// filters, is in sandbox/seccomp/policy and sandbox/seccomp/compile, which a
// run with a built-in policy does not need.
package seccomp

//go:generate go run ./gen

// Variant is what a sandbox is allowed beyond the policy's name, as in
// policy.Variant. There is no filter here for programs of a second
// architecture: policy.Builtin and compile.Bytes make it.
type Variant struct{ FakeRoot, NestedUserNS bool }

// filter is a compiled policy: an array of struct sock_filter.
type filter struct {
	name    string
	variant Variant
	code    string
}

// Builtin is the filter of a built-in policy for the architecture that this
// program was built for: an array of the kernel's struct sock_filter of 8 bytes
// each. A filter that is empty is not installed; the kernel would refuse it.
// There is none, and ok is false, for a name that is no built-in policy's and on
// other architectures than amd64 and arm64.
//
// To install it, in the thread that executes the command: prctl(2)
// PR_SET_NO_NEW_PRIVS, then seccomp(2) SECCOMP_SET_MODE_FILTER with no flags and
// a struct sock_fprog: the number of instructions (2 bytes), 6 bytes of padding,
// the address of the array (8 bytes).
func Builtin(name string, v Variant) (code []byte, ok bool) {
	for i := range filters {
		if f := &filters[i]; f.name == name && f.variant == v {
			return []byte(f.code), true
		}
	}
	return nil, false
}
