package upper

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// JSON has no way to write bytes that are not UTF-8, and encoding/json replaces
// them in silence: a path would come back as another one. So in the file, and
// only there, a text that is not UTF-8, or that begins with the mark itself, is
// written with the mark and in Go's quotes.
const quotedMark = "go:"

func enquote(s string) string {
	if utf8.ValidString(s) && !strings.HasPrefix(s, quotedMark) {
		return s
	}
	return quotedMark + strconv.QuoteToASCII(s)
}

func unquote(s string) (string, error) {
	text, ok := strings.CutPrefix(s, quotedMark)
	if !ok {
		return s, nil
	}
	out, err := strconv.Unquote(text)
	if err != nil {
		return "", fmt.Errorf("%q is not text in quotes", text)
	}
	return out, nil
}

// texts are the fields that hold the host's names, or the caller's words.
func (r *Record) texts() []*string {
	list := []*string{&r.Dir}
	for i := range r.Argv {
		list = append(list, &r.Argv[i])
	}
	for i := range r.Layers {
		l := &r.Layers[i]
		list = append(list, &l.Target)
		for _, paths := range [][]string{l.Lower, l.Made} {
			for j := range paths {
				list = append(list, &paths[j])
			}
		}
	}
	return list
}

// enpath is a copy of r whose texts JSON can write.
func enpath(r *Record) *Record {
	out := *r
	out.Argv = append([]string(nil), r.Argv...)
	out.Layers = append([]Layer(nil), r.Layers...)
	for i := range out.Layers {
		l := &out.Layers[i]
		l.Lower, l.Made = slices.Clone(l.Lower), slices.Clone(l.Made)
	}
	for _, s := range out.texts() {
		*s = enquote(*s)
	}
	return &out
}

// unpath undoes enpath in place.
func unpath(r *Record) error {
	for _, s := range r.texts() {
		text, err := unquote(*s)
		if err != nil {
			return err
		}
		*s = text
	}
	return nil
}
