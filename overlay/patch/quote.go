package patch

import (
	"errors"
	"strings"
)

// Quote writes a name as git does where it may hold anything: in double quotes,
// with bytes that are not printable ASCII as octal escapes, if there is any such
// byte, a quote or a backslash in it (git-config(1), core.quotePath).
func Quote(name string) string {
	plain := true
	for i := range len(name) {
		plain = plain && name[i] >= 0x20 && name[i] < 0x7f && name[i] != '"' && name[i] != '\\'
	}
	if plain {
		return name
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(name) {
		c := name[i]
		if at := strings.IndexByte(short, c); at >= 0 {
			b.WriteByte('\\')
			b.WriteByte(letter[at])
		} else if c >= 0x20 && c < 0x7f {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'\\', '0' + c>>6, '0' + c>>3&7, '0' + c&7})
		}
	}
	b.WriteByte('"')
	return b.String()
}

// The bytes with an escape of their own, and its letters.
const (
	short  = "\a\b\t\n\v\f\r\"\\"
	letter = `abtnvfr"\`
)

// Unquote is the name that Quote wrote.
func Unquote(s string) (string, error) {
	if s == "" || s[0] != '"' {
		return s, nil
	}
	if len(s) < 2 || s[len(s)-1] != '"' {
		return "", errQuote
	}
	s = s[1 : len(s)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return "", errQuote
		case s[i] != '\\':
			b.WriteByte(s[i])
		case i+1 < len(s) && strings.IndexByte(letter, s[i+1]) >= 0:
			b.WriteByte(short[strings.IndexByte(letter, s[i+1])])
			i++
		case i+3 < len(s) && s[i+1] >= '0' && s[i+1] <= '3' && octal(s[i+2]) && octal(s[i+3]):
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
		default:
			return "", errQuote
		}
	}
	return b.String(), nil
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

var errQuote = errors.New("not a quoted name")
