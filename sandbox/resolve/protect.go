package resolve

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// protect makes what workspace.protect names read-only where it is there, by
// whatever mounts it could be written. It can't be moved either, nor what it
// lies in. What is not there can't be kept from being made without making
// something in the project; that is left to the audit.
func (r *resolver) protect(guards map[string]int) {
	w := &r.prof.Workspace
	if r.space == "" || len(w.Protect) == 0 || !slices.ContainsFunc(r.plan.Mounts, func(m sandbox.Mount) bool {
		return writable(&m) && (within(m.Source, r.space) || within(r.space, m.Source))
	}) {
		return
	}
	top, err := r.facts.Files.Names(r.space)
	if err != nil {
		r.fail(&Error{Key: "workspace.protect", Msg: "looking for what is to be protected", Hint: "make the workspace readable", Err: err})
		return
	}
	for i, g := range w.Unprotect {
		if !slices.Contains(w.Protect, g) {
			r.note("warning", "workspace", fmt.Sprintf("workspace.unprotect[%d]", i), "%s is no entry of workspace.protect, and nothing is changed by it", g)
		}
	}
	for i, g := range w.Protect {
		if slices.Contains(w.Unprotect, g) {
			continue
		}
		found, err := r.protected(g, top)
		if err != nil {
			r.fail(&Error{Key: fmt.Sprintf("workspace.protect[%d]", i), Msg: "looking for what is to be protected", Hint: "make the directory readable, or remove it", Err: err})
		}
		for _, p := range found {
			r.protectOne(p, fmt.Sprintf("workspace.protect[%d]", i), guards)
		}
	}
}

// writable says that the command can change a tree of the host's by m.
func writable(m *sandbox.Mount) bool {
	return m.Kind == sandbox.Bind && !m.ReadOnly && !m.Private
}

// protected lists what the pattern matches. top are the names in the workspace:
// most patterns are one of those, or none, and need no look of their own.
func (r *resolver) protected(pattern string, top []string) ([]string, error) {
	pattern = strings.Trim(pattern, "/")
	first, _, deep := strings.Cut(pattern, "/")
	if !strings.ContainsAny(first, "*?[\\") {
		if _, there := slices.BinarySearch(top, first); !there {
			return nil, nil
		}
	}
	if deep || first == "**" {
		return r.glob(r.space, pattern)
	}
	var out []string
	for _, n := range top {
		if ok, err := path.Match(first, n); ok && err == nil {
			out = append(out, path.Join(r.space, n))
		}
	}
	return out, nil
}

func (r *resolver) protectOne(p, key string, guards map[string]int) {
	e, err := r.facts.Files.Lstat(p)
	if links, _ := r.walk(p); err == nil && len(links) > 0 {
		r.note("info", "workspace", key, "%s is a link: what it leads to is protected, and the link itself can be replaced", links[0])
		e, err = r.facts.Files.Resolve(p, r.space)
	}
	if errors.Is(err, unix.ENOENT) {
		return // gone meanwhile, or a link to nothing
	}
	if errors.Is(err, unix.EACCES) { // the command may have closed the way, and could open it
		r.fail(&Error{Key: key, Msg: "looking for what is to be protected", Hint: "make it readable, or remove " + p, Err: err})
		return
	}
	if err != nil {
		r.note("warning", "workspace", key, "%s can't be protected: %v", p, err)
		return
	}
	if e.Path == r.space {
		return // a link to the workspace itself, which is to be written
	}
	if r.otherNames(e) {
		r.note("warning", "workspace", key, "%s is protected, but the file has %d names: it can be written by another of them that is granted", e.Path, e.Links)
	}
	for _, cover := range r.plan.Mounts {
		switch {
		case !writable(&cover):
		case within(cover.Source, e.Path):
			r.fail(&Error{Key: cover.From, Msg: fmt.Sprintf("%s is protected by workspace.protect and can't be given to the command to write", cover.Source),
				Hint: `leave it out, set access = "ro", or name the entry in workspace.unprotect`})
		case within(e.Path, cover.Source):
			r.guardIn(cover, sandbox.Mount{Source: e.Path, IsDir: e.IsDir, ReadOnly: true, From: key, Why: "the host runs it later"},
				"so that what is protected in it stays there", guards)
		}
	}
}

// audit decides which trees of the host's are looked through afterwards.
func (r *resolver) audit() {
	a := &r.plan.Audit
	a.Mode = sandbox.AuditMode(r.prof.Workspace.Audit)
	if a.Mode == sandbox.AuditOff {
		return
	}
	for i := range r.plan.Mounts {
		m := &r.plan.Mounts[i]
		if !writable(m) || slices.ContainsFunc(a.Trees, func(t sandbox.AuditTree) bool { return within(m.Source, t.Source) }) {
			continue
		}
		a.Trees = slices.DeleteFunc(a.Trees, func(t sandbox.AuditTree) bool { return within(t.Source, m.Source) })
		a.Trees = append(a.Trees, sandbox.AuditTree{Source: m.Source, IsDir: m.IsDir, Top: m.Source, Home: r.facts.Home})
	}
	for i := range a.Trees {
		if t := &a.Trees[i]; r.space != "" && within(r.space, t.Source) {
			t.Top = r.space
		}
		r.auditTree(&a.Trees[i])
	}
}

// auditTree says what in t could not be moved, by any of its mounts.
func (r *resolver) auditTree(t *sandbox.AuditTree) {
	ways := 0
	for _, m := range r.plan.Mounts {
		if writable(&m) && within(m.Source, t.Source) {
			ways++
		}
	}
	if ways > 1 {
		return // what one mount keeps in its place another may not
	}
	for _, m := range r.plan.Mounts {
		if m.Kind == sandbox.Guard && m.IsDir && m.Source != t.Source && within(m.Source, t.Source) {
			t.Pins = append(t.Pins, m.Source)
		}
	}
}
