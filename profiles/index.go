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

// position says where a dotted key of l stands. A key that the file doesn't
// spell out stands where the nearest table around it does.
func (l *layer) position(key string, value bool) position {
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
		case unstable.Table, unstable.ArrayTable:
			prefix = x.key("", e.Key())
		case unstable.KeyValue:
			x.value(x.key(prefix, e.Key()), e.Value())
		}
	}
	return x.places
}

type indexer struct {
	parser unstable.Parser
	places
}

// key notes each part of a dotted key and returns the whole.
func (x *indexer) key(prefix string, parts unstable.Iterator) string {
	for parts.Next() {
		prefix = join(prefix, string(parts.Node().Data))
		if _, seen := x.keys[prefix]; !seen {
			x.keys[prefix] = x.start(parts.Node())
		}
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
