package resolve

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// maxLinks is the kernel's own bound on links in one look-up (path_resolution(7)).
const maxLinks = 40

// otherNames says that e is a file that has other names, which may be granted.
func (r *resolver) otherNames(e host.Entry) bool {
	if e.IsDir {
		return false
	}
	r.facts.Seen.Counted(e.Path)
	return e.Links > 1
}

// walk follows p link by link. It returns the place of each link on the way,
// and where p leads; of a p that is not there, where it would be made. Who can
// write where a link lies decides what p means.
func (r *resolver) walk(p string) (links []string, real string) {
	rest := strings.Split(p, "/")
	real = "/"
	for len(rest) > 0 {
		el := rest[0]
		rest = rest[1:]
		at := path.Join(real, el)
		if el == "" || el == "." || el == ".." { // of a real directory, whose parent is real too
			real = at
			continue
		}
		if e, err := r.facts.Files.Lstat(at); err != nil || e.Type() != unix.S_IFLNK || len(links) == maxLinks {
			real = at
			continue
		}
		text, err := r.facts.Files.Link(at)
		if err != nil {
			real = at
			continue
		}
		links = append(links, at)
		if path.IsAbs(text) {
			real = "/"
		}
		rest = append(strings.Split(text, "/"), rest...)
	}
	return links, real
}
