package resolve

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/compile"
	"github.com/sbx-sandbox/sbx/sandbox/seccomp/policy"
)

// seccomp decides the filter of system calls. A built-in policy as it is needs
// no more than its name; any other is put together and compiled here.
func (r *resolver) seccomp() {
	s := &r.prof.Security
	f := &r.plan.Security.Seccomp
	*f = sandbox.Seccomp{Policy: s.Seccomp, From: "security.seccomp"}
	if !changed(s) && s.Seccomp == sandbox.Unconfined {
		if s.TraceDenied {
			r.note("info", "", traceKey, "there is no filter of system calls, and so nothing to report")
		}
		return
	}
	if err := r.facts.NoFilters; err != nil {
		const why = "this kernel has no system call filters"
		f.Policy = sandbox.Unconfined
		r.note("degraded", "seccomp", f.From, "%s (%v): security.seccomp = %q is not enforced", why, err, s.Seccomp)
		return
	}
	// Hostile code keeps what mitigations of speculation the kernel ties to a
	// filter; for the rest they would be slow, and buy nothing that is promised.
	f.SpecAllow = s.Seccomp != policy.Strict
	f.Trace = s.TraceDenied && !r.plan.Bare.On()
	if !changed(s) {
		r.keysRefused = true // by all of them
		return
	}
	f.Allow, f.Deny, f.Multiarch = s.SeccompAllow, s.SeccompDeny, s.Multiarch
	p, err := Policy(s, r.plan.Security.Keep)
	if err == nil {
		r.keysRefused = p.Refuses(keyCalls...)
		err = compiled(p, f)
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		r.errs = append(r.errs, many.Unwrap()...)
	} else if err != nil {
		r.errs = append(r.errs, err)
	}
	if len(f.Untraced) > 0 {
		r.note("info", "", traceKey, "not told of, since starting the command takes them and the policy refuses some: %s", strings.Join(f.Untraced, ", "))
	}
}

// traceKey has refused calls reported.
const traceKey = "security.trace_denied"

// changed reports whether a policy is other than one of the built-in filters.
func changed(s *profiles.Security) bool {
	return profiles.SeccompFile(s.Seccomp) || len(s.SeccompAllow)+len(s.SeccompDeny) > 0 || s.Multiarch && s.Seccomp != sandbox.Unconfined
}

// Policy is the policy of system calls that a profile sets for a command which
// keeps some capabilities in a user namespace that owns nothing. The error is
// one *Error or several, joined.
func Policy(s *profiles.Security, keep []sandbox.Capability) (policy.Policy, error) {
	p, err := basis(s, keep)
	if err != nil {
		return policy.Policy{}, err
	}
	var errs []error
	edit := func(list []string, key string, by func(policy.Policy, ...string) (policy.Policy, error)) {
		for i, name := range list {
			edited, err := by(p, name)
			if err != nil {
				errs = append(errs, &Error{Key: fmt.Sprintf("%s[%d]", key, i), Msg: err.Error(), Hint: "sbx explain --seccomp lists the calls of the policy"})
				continue
			}
			p = edited
		}
	}
	edit(s.SeccompAllow, "security.seccomp_allow", policy.Policy.Allow)
	edit(s.SeccompDeny, "security.seccomp_deny", policy.Policy.Deny)
	return p, errors.Join(errs...)
}

// basis is a policy before the profile's own edits.
func basis(s *profiles.Security, keep []sandbox.Capability) (policy.Policy, error) {
	const key = "security.seccomp"
	native, err := policy.ArchOf(runtime.GOARCH)
	if err != nil {
		return policy.Policy{}, &Error{Key: key, Err: err, Msg: "making the system call filter"}
	}
	if !profiles.SeccompFile(s.Seccomp) {
		v := policy.Variant{FakeRoot: len(keep) > 0, NestedUserNS: s.NestedUserNS, Multiarch: s.Multiarch}
		p, err := policy.Builtin(s.Seccomp, native, v)
		if err != nil {
			return policy.Policy{}, &Error{Key: key, Err: err, Msg: "making the system call filter"}
		}
		return p, nil
	}
	var caps []string
	for _, c := range keep {
		caps = append(caps, "CAP_"+c.String())
	}
	p, err := policy.ParseOCI([]byte(s.SeccompText), native, caps)
	if err != nil {
		return policy.Policy{}, &Error{Key: key, Err: err, Msg: "reading " + s.Seccomp, Hint: "a file that podman or Docker takes is good; what differs is in docs/PROFILES.md"}
	}
	p.Name = s.Seccomp
	if s.Multiarch {
		p = p.WithOther()
	}
	return p, nil
}

// compiled puts the filters for p into f.
func compiled(p policy.Policy, f *sandbox.Seccomp) error {
	fail := func(err error) error {
		key, what := "security.seccomp", "the system call policy "+f.Policy
		if len(f.Deny) > 0 {
			key, what = "security.seccomp_deny", what+", as changed"
		}
		return &Error{Key: key, Err: err, Msg: what}
	}
	first, same, err := p.Start()
	if err != nil {
		return fail(err)
	}
	if f.Trace && !same {
		// An errno of Code's would go before First's question.
		p, f.Untraced = p.Remainder()
	}
	if f.Code, err = compile.Bytes(p); err != nil {
		return fail(err)
	}
	if !same {
		if f.First, err = compile.Bytes(first); err != nil {
			return fail(err)
		}
	}
	return nil
}
