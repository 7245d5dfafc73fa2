package profiles

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// position is a place in a file, from 1; the zero position is none.
type position struct{ line, col int }

// places is where the keys of one file stand.
type places struct {
	keys   map[string]position // dotted key -> its last part
	values map[string]position // dotted key, or key[i] -> its value
}

// outer is where a key of l stands in the file: a phase's are below its table's,
// and may be written in short.
func (l *layer) outer(key string) (file *layer, full string) {
	if l.base == nil {
		return l, key
	}
	if key == "" {
		return l.base, l.inner
	}
	return l.base, l.inner + "." + key
}

// position says where a dotted key of l stands. A key that the file doesn't
// spell out stands where the nearest table around it does.
func (l *layer) position(key string, value bool) position {
	if l.base != nil {
		file, full := l.outer(key)
		if short, ok := strings.CutPrefix(key, "process."); ok && shorts(short) {
			file.position("", false) // for the places
			if _, in := file.places.keys[l.inner+"."+cutIndex(short)]; in {
				full = l.inner + "." + short
			}
		}
		return file.position(full, value)
	}
	l.once.Do(func() {
		if name, ok := strings.CutPrefix(l.name, "builtin:"); ok && l.text == "" {
			l.text, _ = Source(name)
		}
		l.places = index([]byte(l.text))
	})
	for key != "" {
		if pos, ok := l.places.values[key]; ok && value {
			return pos
		}
		if pos, ok := l.places.keys[key]; ok {
			return pos
		}
		key = parent(key)
	}
	return position{1, 1}
}

// parent cuts the last part, or the index, off a dotted key.
func parent(key string) string {
	quoted, cut := false, 0
	for i := 0; i < len(key); i++ {
		switch {
		case quoted && key[i] == '\\':
			i++
		case key[i] == '"':
			quoted = !quoted
		case !quoted && (key[i] == '.' || key[i] == '['):
			cut = i
		}
	}
	return key[:cut]
}

// index finds the keys of a file. It reads a file a second time, with a parser
// that keeps positions, and is for files that something is to be said about.
// What that parser can't read it leaves out.
func index(text []byte) places {
	x := indexer{places: places{keys: map[string]position{}, values: map[string]position{}}}
	x.parser.Reset(text)
	prefix := ""
	for x.parser.NextExpression() {
		switch e := x.parser.Expression(); e.Kind {
		case unstable.ArrayTable:
			prefix = x.key("", e.Key())
			if prefix == "phase" {
				prefix = fmt.Sprintf("phase[%d]", x.phases)
				x.keys[prefix] = x.keys["phase"]
				delete(x.keys, "phase") // each table has its own place
				x.phases++
			}
		case unstable.Table:
			prefix = x.table(e.Key())
		case unstable.KeyValue:
			x.value(x.key(prefix, e.Key()), e.Value())
		}
	}
	return x.places
}

// table notes the head of a table. One below phase belongs to the last [[phase]].
func (x *indexer) table(parts unstable.Iterator) string {
	prefix := ""
	for first := true; parts.Next(); first = false {
		name := string(parts.Node().Data)
		if first && name == "phase" && x.phases > 0 {
			prefix = fmt.Sprintf("phase[%d]", x.phases-1)
			continue
		}
		prefix = x.note(prefix, parts.Node())
	}
	return prefix
}

type indexer struct {
	parser unstable.Parser
	places
	phases int // tables [[phase]] that were seen
}

// key notes each part of a dotted key and returns the whole.
func (x *indexer) key(prefix string, parts unstable.Iterator) string {
	for parts.Next() {
		prefix = x.note(prefix, parts.Node())
	}
	return prefix
}

// note notes one part of a dotted key, below prefix, and returns the whole.
func (x *indexer) note(prefix string, part *unstable.Node) string {
	prefix = join(prefix, string(part.Data))
	if _, seen := x.keys[prefix]; !seen {
		x.keys[prefix] = x.start(part)
	}
	return prefix
}

func (x *indexer) value(key string, v *unstable.Node) {
	switch v.Kind {
	case unstable.Array:
		i := 0
		for list := v.Children(); list.Next(); i++ {
			x.value(fmt.Sprintf("%s[%d]", key, i), list.Node())
		}
	case unstable.InlineTable:
		x.values[key] = x.start(v)
		for fields := v.Children(); fields.Next(); {
			x.value(x.key(key, fields.Node().Key()), fields.Node().Value())
		}
	default:
		x.values[key] = x.start(v)
	}
}

func (x *indexer) start(n *unstable.Node) position {
	s := x.parser.Shape(n.Raw).Start
	return position{s.Line, s.Column}
}
