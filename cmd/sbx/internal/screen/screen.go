// Package screen makes text that a person can read, and that a terminal does not act
// on.
package screen

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Quoted is a path whose end can be seen: one with spaces, or with what is not
// printed as it is, in quotes.
func Quoted(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' || unsafe(r) || ignorable(r) }) {
		return fmt.Sprintf("%+q", path)
	}
	return path
}

// ignorable are marks that a terminal does not show.
func ignorable(r rune) bool {
	return r == 0xad || r >= 0x200b && r <= 0x200f || r >= 0x2060 && r <= 0x206f || r == 0xfeff || r == 0xfffd
}

// Near is path as seen from the current directory, if it lies below it.
func Near(path string) string {
	dir, err := os.Getwd()
	if err != nil || dir == "/" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, dir+"/"); ok {
		return rest
	}
	return path
}

// Printable replaces what a terminal would act on: paths and profiles may come
// from somebody else.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unsafe(r) {
			return '?'
		}
		return r
	}, s)
}

// Line is Printable text that stays in one line, and in one column of it: a newline
// and a tab are written as \n and \t.
func Line(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(Printable(s))
}

// unsafe says whether a terminal acts on r, or shows by it something else than
// what is there: controls, and marks that turn the direction of text around.
func unsafe(r rune) bool {
	return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029
}

// The colours in use; see ECMA-48, 8.3.117.
const (
	Bold   = "1"
	Red    = "1;31"
	Green  = "32"
	Yellow = "1;33"
)

// Paint colours s if w is a terminal and nobody objects (no-color.org).
func Paint(w io.Writer, colour, s string) string {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !IsTerminal(w) {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Escape writes what is not safe to print as \uXXXX, which JSON and TOML read
// back as it was. Outside of their strings neither has such characters.
func Escape(text []byte) []byte {
	if !bytes.ContainsFunc(text, unsafe) {
		return text
	}
	var out []byte
	for _, r := range string(text) {
		if unsafe(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// BytesText writes a size with the largest unit that divides it.
func BytesText(n int64) string {
	for i, unit := range []string{"", "K", "M", "G", "T"} {
		if n%1024 != 0 || n == 0 || i == 4 {
			return strconv.FormatInt(n, 10) + unit
		}
		n /= 1024
	}
	return ""
}

// SizeText is a number of bytes to one decimal, in the units of the flags and
// profiles: 1K is 1024.
func SizeText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	const units = "KMGTP"
	f, i := float64(n)/1024, 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.1f%c", f, units[i])
}

// Ago is a duration as people say it.
func Ago(d time.Duration) string {
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int(d / u.size); n == 1 {
			return "1 " + u.name
		} else if n > 1 {
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	if n := int(d / time.Second); n != 1 {
		return fmt.Sprintf("%d seconds", max(n, 0))
	}
	return "1 second"
}

// Cut shortens text to at most n characters.
func Cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
