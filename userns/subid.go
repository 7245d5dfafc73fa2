package userns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Range is one grant of subordinate ids: Count host ids from Start on.
type Range struct {
	Start uint32 `json:"start"`
	Count uint32 `json:"count"`
}

// maxSubidLines bounds the work on a damaged or hostile file; real ones have
// a line per account.
const maxSubidLines = 1 << 20

// ParseSubids reads the grants of one account, by name or numeric uid, from
// the text of /etc/subuid or /etc/subgid (subuid(5)). Lines of other accounts
// are not judged; a malformed line of this account is an error that names it,
// since guessing at a grant of ids is worse than refusing it.
func ParseSubids(r io.Reader, name string, uid uint32) ([]Range, error) {
	var out []Range
	numeric := strconv.FormatUint(uint64(uid), 10)
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		if n > maxSubidLines {
			return nil, fmt.Errorf("more than %d lines", maxSubidLines)
		}
		owner, rest, found := strings.Cut(s.Text(), ":")
		if !found || (owner != name && owner != numeric) || owner == "" {
			continue
		}
		g, err := parseGrant(rest)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if g.Count > 0 {
			out = append(out, g)
		}
	}
	return out, s.Err()
}

func parseGrant(s string) (Range, error) {
	a, b, found := strings.Cut(s, ":")
	if !found {
		return Range{}, fmt.Errorf("%q is not START:COUNT", s)
	}
	start, err := strconv.ParseUint(a, 10, 32)
	if err != nil {
		return Range{}, fmt.Errorf("start %q is not an id", a)
	}
	count, err := strconv.ParseUint(b, 10, 32)
	if err != nil {
		return Range{}, fmt.Errorf("count %q is not a number of ids", b)
	}
	if start == 0 && count > 0 {
		return Range{}, errors.New("a range that holds id 0 is not subordinate")
	}
	if start+count > 1<<32-1 {
		return Range{}, fmt.Errorf("%d:%d goes beyond the last id", start, count)
	}
	return Range{Start: uint32(start), Count: uint32(count)}, nil
}

// Largest picks the grant with the most ids; ok is false when there is none.
func Largest(grants []Range) (r Range, ok bool) {
	for _, g := range grants {
		if g.Count > r.Count {
			r, ok = g, true
		}
	}
	return r, ok
}
