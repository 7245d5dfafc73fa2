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
// can connect to one commands that sandbox, and records are believed. A place that
// is missing is made where it may come while the sandbox runs, or by the command.
func (r *resolver) runtime() {
	for _, dir := range r.RuntimeDirs {
		r.hideRecords(dir)
	}
}

func (r *resolver) hideRecords(dir string) {
	links, real := r.walk(dir)
	_, err := r.facts.Files.Resolve(path.Dir(real), "")
	above := err == nil
	switch {
	case above, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ELOOP):
		return // nothing that the user reaches
	default:
		r.fail(&Error{Msg: "looking for the records of sandboxes in " + path.Dir(real) + ", which are hidden", Err: err})
		return
	}
	var targets []string
	if r.plan.Root.InPlace && above {
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
		if !m.IsDir {
			continue
		}
		if at := slices.IndexFunc(links, func(l string) bool { return within(l, m.Source) }); at >= 0 && !m.ReadOnly {
			r.fail(&Error{Key: m.From, Msg: fmt.Sprintf("%s is a symbolic link that the command could replace, and leads to the records of sandboxes", links[at]),
				Hint: "have XDG_RUNTIME_DIR name the place that it leads to"})
			continue
		}
		// Where what is above is missing too, only the command might make it.
		if within(real, m.Source) && (above || !m.ReadOnly) {
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
