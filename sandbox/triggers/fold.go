package triggers

import (
	"strings"
	"unicode"
)

// Fold brings the names that some file system or program takes for the same to
// one form: case, characters that HFS+ and casefolding ext4 pass over, and what
// Windows cuts off a name's end. git compares its own names that way
// (core.protectHFS and core.protectNTFS, git-config(1)).
func Fold(name string) string {
	if plain(name) {
		return name
	}
	name = strings.Map(func(r rune) rune {
		if ignored(r) {
			return -1
		}
		return folded(r)
	}, name)
	if i := strings.IndexByte(name, ':'); i > 0 { // a stream of NTFS: .git::$INDEX_ALLOCATION
		name = name[:i]
	}
	if cut := strings.TrimRight(name, ". "); cut != "" {
		name = cut
	}
	return name
}

// plain says that Fold would leave name as it is, which is so for most.
func plain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= 0x80 || c >= 'A' && c <= 'Z' || c == ':' {
			return false
		}
	}
	return name == "" || name[len(name)-1] != '.' && name[len(name)-1] != ' '
}

// folded is the one of the characters that differ in case only that stands for
// all: the long s is an s, the sign of the Kelvin a k.
func folded(r rune) rune {
	if r < 0x80 {
		return unicode.ToLower(r)
	}
	low := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		low = min(low, f)
	}
	return unicode.ToLower(low)
}

// ignored are the code points that are not there for a file system that folds
// case by Unicode: Default_Ignorable_Code_Point of its DerivedCoreProperties.
func ignored(r rune) bool {
	switch {
	case r < 0x80:
		return false
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5,
		r >= 0x180b && r <= 0x180f, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f,
		r == 0x3164, r >= 0xfe00 && r <= 0xfe0f, r == 0xfeff, r == 0xffa0, r >= 0xfff0 && r <= 0xfff8,
		r >= 0x1bca0 && r <= 0x1bca3, r >= 0x1d173 && r <= 0x1d17a, r >= 0xe0000 && r <= 0xe0fff:
		return true
	}
	return false
}

// short is the name that NTFS may give to a file besides its own, without its
// number: "git~" of .git, "mcp~.jso" of .mcp.json. name is folded.
func short(name string) string {
	base := strings.TrimLeft(name, ".")
	ext := ""
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		base, ext = base[:i], base[i:]
	}
	base, ext = bare(base), bare(ext)
	if len(base) > 6 {
		base = base[:6]
	}
	if ext == "" {
		return base + "~"
	}
	return base + "~." + ext[:min(3, len(ext))]
}

// bare is s without what a short name can't hold.
func bare(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, ".", ""), " ", "")
}

// unnumbered cuts the number out of a name of that form. It is false for any other.
func unnumbered(name string) (string, bool) {
	i := strings.IndexByte(name, '~')
	if i < 1 || i > 6 || i+1 == len(name) || name[i+1] < '1' || name[i+1] > '9' {
		return "", false
	}
	rest := name[i+2:]
	if rest != "" && (rest[0] != '.' || len(rest) > 4) {
		return "", false
	}
	return name[:i+1] + rest, true
}
