// Package userns computes and writes id maps: which host ids a user namespace
// sees under which ids of its own. See user_namespaces(7), "User and group ID
// mappings".
//
// It has two ways to a map. One line that maps the caller's own id needs no
// privilege at all. Anything larger needs subordinate ids, granted in
// /etc/subuid and /etc/subgid (subuid(5)) and written by the setuid helpers
// newuidmap(1) and newgidmap(1).
package userns

import (
	"errors"
	"fmt"
	"strconv"
)

// Extent is one line of an id map: Count ids from Inside on in the namespace
// are Count ids from Outside on in its parent.
type Extent struct {
	Inside  uint32 `json:"inside"`
	Outside uint32 `json:"outside"`
	Count   uint32 `json:"count"`
}

// Map is a uid or gid map, at most 340 extents (Linux 4.15, user_namespaces(7)).
type Map []Extent

// MaxExtents is the kernel's bound on the lines of one map.
const MaxExtents = 340

// String is the map in the kernel's format, one "inside outside count" a line.
func (m Map) String() string {
	b := make([]byte, 0, 24*len(m))
	for i, e := range m {
		if i > 0 {
			b = append(b, '\n')
		}
		b = strconv.AppendUint(b, uint64(e.Inside), 10)
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(e.Outside), 10)
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(e.Count), 10)
	}
	return string(b)
}

// IsSelf says whether the map is the one line that needs no privilege: the
// id `own` of the parent and nothing else.
func (m Map) IsSelf(own uint32) bool {
	return len(m) == 1 && m[0].Count == 1 && m[0].Outside == own
}

// Inside translates a parent's id to the namespace's.
func (m Map) Inside(outside uint32) (id uint32, ok bool) {
	for _, e := range m {
		if outside >= e.Outside && outside-e.Outside < e.Count {
			return e.Inside + (outside - e.Outside), true
		}
	}
	return 0, false
}

// Outside translates a namespace's id to its parent's.
func (m Map) Outside(inside uint32) (id uint32, ok bool) {
	for _, e := range m {
		if inside >= e.Inside && inside-e.Inside < e.Count {
			return e.Outside + (inside - e.Inside), true
		}
	}
	return 0, false
}

// Identity is the map of a nested namespace that sees the same ids as its
// parent does. It repeats m's extents, since a line must not span two of the
// parent's.
func (m Map) Identity() Map {
	id := make(Map, len(m))
	for i, e := range m {
		id[i] = Extent{Inside: e.Inside, Outside: e.Inside, Count: e.Count}
	}
	return id
}

// Validate reports every fault of the map at once: no lines, too many, an
// empty or overflowing extent, two extents that overlap on either side.
func (m Map) Validate() error {
	var errs []error
	if len(m) == 0 {
		return errors.New("the id map is empty")
	}
	if len(m) > MaxExtents {
		errs = append(errs, fmt.Errorf("the id map has %d lines, the kernel takes %d", len(m), MaxExtents))
	}
	for i, e := range m {
		if err := e.validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, f := range m[:i] {
			if f.validate() != nil {
				continue
			}
			if overlap(e.Inside, e.Count, f.Inside, f.Count) {
				errs = append(errs, fmt.Errorf("%s and %s overlap inside", f, e))
			}
			if overlap(e.Outside, e.Count, f.Outside, f.Count) {
				errs = append(errs, fmt.Errorf("%s and %s overlap outside", f, e))
			}
		}
	}
	return errors.Join(errs...)
}

func (e Extent) validate() error {
	switch {
	case e.Count == 0:
		return fmt.Errorf("%s maps no ids", e)
	case uint64(e.Inside)+uint64(e.Count) > 1<<32-1, uint64(e.Outside)+uint64(e.Count) > 1<<32-1:
		return fmt.Errorf("%s goes beyond the last id 4294967294", e)
	}
	return nil
}

func overlap(a, n, b, m uint32) bool {
	return uint64(a) < uint64(b)+uint64(m) && uint64(b) < uint64(a)+uint64(n)
}

// String is the extent as profiles and messages write it.
func (e Extent) String() string {
	return fmt.Sprintf("%d:%d:%d", e.Inside, e.Outside, e.Count)
}

// Self is the one-line map of the caller's own id, seen inside as `inside`.
func Self(inside, own uint32) Map {
	return Map{{Inside: inside, Outside: own, Count: 1}}
}

// Keep maps the caller's own id to itself and a subordinate range around it,
// so that the person keeps their id and the ids from 0 on exist as well: ids
// below own come from the start of the range, those above it from its rest.
// Podman calls the layout keep-id.
//
// Precondition: sub holds at least one id and does not hold own.
func Keep(own uint32, sub Range) Map {
	var m Map
	below := min(own, sub.Count)
	if below > 0 {
		m = append(m, Extent{0, sub.Start, below})
	}
	m = append(m, Extent{own, own, 1})
	if rest := sub.Count - below; rest > 0 {
		m = append(m, Extent{own + 1, sub.Start + below, rest})
	}
	return m
}

// Root maps the caller's own id to 0 and a subordinate range from 1 on, the
// layout of rootless containers.
func Root(own uint32, sub Range) Map {
	return Map{{0, own, 1}, {1, sub.Start, sub.Count}}
}
