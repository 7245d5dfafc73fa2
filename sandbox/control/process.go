package control

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Bytes are the words of a Process as they are, which JSON has only for text.
type Bytes struct {
	Argv [][]byte `json:"argv"`
	Env  [][]byte `json:"env,omitempty"`
	Dir  []byte   `json:"dir,omitempty"`
	Cwd  []byte   `json:"cwd,omitempty"`
}

// words are all strings of a Process.
func (p *Process) words() []string {
	return slices.Concat(p.Argv, p.Env, []string{p.Dir, p.Cwd})
}

// restore puts the words that were no text in their places.
func (p *Process) restore() {
	b := p.Bytes
	if b == nil {
		return
	}
	texts := func(list [][]byte) (out []string) {
		for _, word := range list {
			out = append(out, string(word))
		}
		return out
	}
	p.Argv, p.Env, p.Dir, p.Cwd, p.Bytes = texts(b.Argv), texts(b.Env), string(b.Dir), string(b.Cwd), nil
}

// text is a request in JSON. That for a command is put together here: a process
// that marshals once spends more on getting to know the types than on everything
// else it does for sbx exec.
func (r *Request) text() ([]byte, error) {
	p := r.Process
	if p != nil && slices.ContainsFunc(p.words(), func(word string) bool { return !utf8.ValidString(word) }) {
		b := &Bytes{Dir: []byte(p.Dir), Cwd: []byte(p.Cwd)}
		for _, word := range p.Argv {
			b.Argv = append(b.Argv, []byte(word))
		}
		for _, word := range p.Env {
			b.Env = append(b.Env, []byte(word))
		}
		with, own := *r, *p
		own.Bytes, with.Process = b, &own
		return json.Marshal(&with)
	}
	if p == nil || *r != (Request{Version: r.Version, Op: r.Op, Process: p}) {
		return json.Marshal(r)
	}
	text := fmt.Appendf(nil, `{"version":%d,"op":"%s","process":{"argv":`, r.Version, r.Op)
	text = appendList(text, p.Argv)
	text = appendList(append(text, `,"env":`...), p.Env)
	text = appendText(append(text, `,"dir":`...), p.Dir)
	text = appendText(append(text, `,"cwd":`...), p.Cwd)
	return fmt.Appendf(text, `,"terminal":[%t,%t,%t],"detach":%t}}`, p.Terminal[0], p.Terminal[1], p.Terminal[2], p.Detach), nil
}

func appendList(text []byte, words []string) []byte {
	text = append(text, '[')
	for i, word := range words {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendText(text, word)
	}
	return append(text, ']')
}

// appendText appends a string of JSON (RFC 8259, section 7).
//
// Precondition: s is UTF-8.
func appendText(text []byte, s string) []byte {
	text = append(text, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20:
			text = fmt.Appendf(text, `\u%04x`, c)
		case c == '"' || c == '\\':
			text = append(text, '\\', c)
		default:
			text = append(text, c)
		}
	}
	return append(text, '"')
}
