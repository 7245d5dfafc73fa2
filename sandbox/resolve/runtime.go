package resolve

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// runtime hides the records and the control sockets of all sandboxes: whoever
// can connect to one commands that sandbox, and records are believed. It is made
// where it is missing, since it may come while the sandbox runs.
func (r *resolver) runtime() {
	if r.RuntimeDir == "" {
		return
	}
	real := r.RuntimeDir
	e, err := r.facts.Files.Resolve(path.Dir(real), "")
	if slices.ContainsFunc([]error{unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP}, func(e error) bool { return errors.Is(err, e) }) {
		return // nothing can be there, or nothing that the user reaches
	}
	if err != nil {
		r.fail(&Error{Msg: "looking for the records of sandboxes in " + path.Dir(real) + ", which are hidden", Err: err})
		return
	}
	real = path.Join(e.Path, path.Base(real))
	var targets []string
	if r.plan.Root.InPlace {
		targets = append(targets, real)
	}
	for _, m := range r.plan.Mounts {
		if m.Kind != sandbox.Bind {
			continue
		}
		if within(m.Source, real) {
			r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s holds records of sandboxes and is given to none", m.Source), Hint: "leave it out"})
			continue
		}
		if m.IsDir && within(real, m.Source) {
			targets = append(targets, path.Join(m.Target, real[len(m.Source):]))
		}
	}
	for _, t := range targets {
		cover := r.covering(t, len(r.plan.Mounts))
		shown := cover == nil && r.plan.Root.InPlace || cover != nil && cover.Kind == sandbox.Bind && hostPath(*cover, t) == real
		if !shown || slices.ContainsFunc(r.plan.Mounts, func(m sandbox.Mount) bool { return m.Target == t }) {
			continue
		}
		if _, err := r.facts.Files.Lstat(real); err != nil && !slices.Contains(r.plan.Create, real) {
			r.plan.Create = append(r.plan.Create, real)
		}
		r.add(sandbox.Mount{Kind: sandbox.Mask, Target: t, IsDir: true, Why: "records of sandboxes"})
		r.pin[t] = true
	}
}
