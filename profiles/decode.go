package profiles

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
)

// layer is one decoded file.
type layer struct {
	name       string // as in Profile.Files and in messages
	path       string // "" for a built-in and standard input
	dir        string // what ${PROFILE_DIR} and relative paths mean; "" = the workspace
	stem       string // default for the key name
	text       string
	extends    []string
	hasExtends bool
	settings   []setting
	phases     []*layer // the tables [[phase]]; they have phase, base and inner
	decoded    bool
	bad        map[string]bool // dotted keys that were refused

	phase string // the name, of a phase's table
	base  *layer // the file that it stands in
	inner string // its key there: "phase[0]"

	once   sync.Once
	places places
}

// decoder turns the text of one file into settings.
type decoder struct {
	layer    *layer
	problems []problem
}

// decode fills l from its text and returns everything wrong with it.
func (l *layer) decode() []problem {
	l.decoded = true
	d := decoder{layer: l}
	var tree map[string]any
	if _, err := toml.Decode(l.text, &tree); err != nil {
		return []problem{l.syntax(err)}
	}
	if v, ok := tree["version"]; !ok {
		d.problems = append(d.problems, problem{layer: l, key: "version", msg: "missing, write version = 1 at the top of the file", line: 1, col: 1})
	} else if _, msg := fileRows[0].scalar(v); msg != "" {
		d.refuse("version", msg)
	}
	if v, ok := tree["extends"]; ok {
		val, _ := d.list(&fileRows[1], "extends", v)
		l.extends, l.hasExtends = val.l, true // the entries that are good are followed anyway
	}
	delete(tree, "version")
	delete(tree, "extends")
	d.table("", tree)
	slices.SortFunc(l.settings, compareSettings)
	return d.problems
}

// compareSettings orders settings as the schema does, and mounts by target.
func compareSettings(a, b setting) int {
	if c := find(a.key) - find(b.key); c != 0 && a.sub == b.sub {
		return c
	}
	if c := strings.Compare(a.sub, b.sub); c != 0 {
		return c
	}
	return find(a.key) - find(b.key)
}

// syntax turns a parser's error into a problem. The parser's line is that of
// where it stopped reading, so the place is counted from its offset.
func (l *layer) syntax(err error) problem {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return problem{layer: l, msg: err.Error(), line: 1, col: 1}
	}
	before := l.text[:max(0, min(parse.Position.Start, len(l.text)))]
	line := strings.LastIndexByte(before, '\n') + 1
	p := problem{layer: l, key: parse.LastKey, line: strings.Count(before, "\n") + 1, col: len(before) - line + 1}
	p.msg = strings.TrimSuffix(strings.ReplaceAll(parse.Message, "\n", " "), ".")
	switch {
	case strings.HasPrefix(p.msg, "expected value but found"):
		p.msg += "; texts stand in quotes"
	case strings.HasPrefix(p.msg, "expected '.' or '=', but got"):
		p.msg += `; write KEY = VALUE, and in quotes a key with other characters than letters, digits, "_" and "-"`
	case strings.HasSuffix(p.msg, "cannot have leading zeroes"):
		p.msg = "i" + strings.TrimPrefix(p.msg, "I") + "; octal numbers stand in quotes"
	}
	if strings.HasSuffix(p.msg, "has already been defined") {
		text, _, _ := strings.Cut(l.text[line:], "\n")
		p.msg, p.col = "set twice, keep one of them", len(text)-len(strings.TrimLeft(text, " \t["))+1
	}
	return p
}

// refuse notes a value that can't be used; key is dotted, maybe with an index.
func (d *decoder) refuse(key, msg string) {
	d.problems = append(d.problems, problem{layer: d.layer, key: key, msg: msg, value: true})
	d.poison(key)
}

// unknown notes a key that the schema doesn't have.
func (d *decoder) unknown(key string, siblings []string) {
	msg := "unknown key"
	leaf := key[len(parent(key)):]
	leaf = strings.Trim(leaf, ".")
	if near := nearest(leaf, siblings); near != "" {
		msg += fmt.Sprintf(" (did you mean %q?)", near)
	} else if elsewhere := anywhere(leaf); elsewhere != "" {
		msg += fmt.Sprintf(" (did you mean %q?)", elsewhere)
	} else if len(siblings) <= 13 {
		msg += ", use " + either(siblings)
	}
	d.problems = append(d.problems, problem{layer: d.layer, key: key, msg: msg})
	d.poison(key)
}

func (d *decoder) poison(key string) {
	if d.layer.bad == nil {
		d.layer.bad = map[string]bool{}
	}
	d.layer.bad[cutIndex(key)] = true
}

// cutIndex takes "[i]" off a key.
func cutIndex(key string) string {
	if strings.HasSuffix(key, "]") {
		return parent(key)
	}
	return key
}

// anywhere returns the one key of the schema whose last part is leaf, or "".
func anywhere(leaf string) string {
	found := ""
	for i := range rows {
		if rows[i].leaf() == leaf && !rows[i].isMount() {
			if found != "" {
				return ""
			}
			found = rows[i].path
		}
	}
	return found
}

// children returns the keys and tables directly in the table prefix ("" or
// "process." and so on).
func children(prefix string) []string {
	var names []string
	if prefix == "" {
		names = append(names, "version", "extends", "phase")
	}
	for i := range rows {
		rest, ok := strings.CutPrefix(rows[i].path, prefix)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, ".")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// table decodes the keys of one table; prefix is "" or ends in a dot.
func (d *decoder) table(prefix string, table map[string]any) {
	for name, v := range table {
		key := join(strings.TrimSuffix(prefix, "."), name)
		i := find(prefix + name)
		switch {
		case i >= 0:
			d.row(&rows[i], "", key, v)
		case prefix == "" && name == "mounts":
			d.mounts(v)
		case prefix == "" && name == "phase" && d.layer.base == nil:
			d.phases(v)
		case prefix == "" && isTable(name):
			sub, ok := v.(map[string]any)
			if !ok {
				d.refuse(key, fmt.Sprintf("must be a table, not %s; write [%s] above its keys", typeName(v), key))
				continue
			}
			d.table(name+".", sub)
		default:
			d.unknown(key, d.siblings(prefix))
		}
	}
}

// siblings are the keys that may stand in the table prefix of this layer.
func (d *decoder) siblings(prefix string) []string {
	names := children(prefix)
	if prefix != "" || d.layer.base == nil {
		return names
	}
	for i := range phaseRows {
		names = append(names, phaseRows[i].leaf())
	}
	return names
}

// isTable reports whether the schema has keys below name.
func isTable(name string) bool {
	for i := range rows {
		if strings.HasPrefix(rows[i].path, name+".") {
			return true
		}
	}
	return false
}

// row decodes one key's value.
func (d *decoder) row(r *row, sub, key string, v any) {
	switch r.kind {
	case kindList, kindIDMap:
		if val, ok := d.list(r, key, v); ok {
			d.set(r, sub, val)
		}
	case kindMap:
		d.variables(r, key, v)
	default:
		val, msg := r.scalar(v)
		if msg != "" {
			d.refuse(key, msg)
			return
		}
		d.set(r, sub, val)
	}
}

func (d *decoder) set(r *row, sub string, v value) {
	d.layer.settings = append(d.layer.settings, setting{key: r.path, sub: sub, val: v})
}

// list decodes a list of strings; each bad entry is reported, and ok is false
// if there is one.
func (d *decoder) list(r *row, key string, v any) (val value, ok bool) {
	list, isList := v.([]any)
	if !isList {
		d.refuse(key, "must be a list of strings, not "+typeName(v))
		return value{}, false
	}
	ok = true
	val.l = make([]string, 0, len(list))
	for i, entry := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		s, isString := entry.(string)
		msg := ""
		if !isString {
			msg = "must be a string, not " + typeName(entry)
		} else {
			msg = r.checkText(s)
		}
		if msg != "" {
			d.refuse(at, msg)
			ok = false
			continue
		}
		val.l = append(val.l, s)
	}
	return val, ok
}

// variables decodes a table of NAME = "value".
func (d *decoder) variables(r *row, key string, v any) {
	table, ok := v.(map[string]any)
	if !ok {
		d.refuse(key, fmt.Sprintf("must be a table, not %s; write [%s] and NAME = \"value\" below it", typeName(v), key))
		return
	}
	for name, v := range table {
		at := join(key, name)
		s, ok := v.(string)
		msg := ""
		switch {
		case r.form == formSecretSource && !validName(name):
			msg = fmt.Sprintf("%q is not a name, %s", name, nameRule)
		case r.form != formSecretSource && !validEnvName(name, ""):
			msg = fmt.Sprintf("%q is not a variable's name, use letters, digits and \"_\"", name)
		case !ok:
			msg = "must be a string, not " + typeName(v)
		default:
			msg = r.checkText(s)
		}
		if msg != "" {
			d.refuse(at, msg)
			continue
		}
		d.set(r, name, value{s: s})
	}
}

// mounts decodes the tables of mounts.
func (d *decoder) mounts(v any) {
	table, ok := v.(map[string]any)
	if !ok {
		d.refuse("mounts", fmt.Sprintf("must be tables named by their target, not %s; write [mounts.\"/target\"]", typeName(v)))
		return
	}
	for target, v := range table {
		key := join("mounts", target)
		if msg := checkTarget(target); msg != "" {
			d.problems = append(d.problems, problem{layer: d.layer, key: key, msg: msg})
			d.poison(key)
			continue
		}
		switch v := v.(type) {
		case string:
			d.short(target, key, v)
		case map[string]any:
			d.mount(target, key, v)
		default:
			d.refuse(key, fmt.Sprintf("must be a table or \"SOURCE[:ro|rw]\", not %s", typeName(v)))
		}
	}
}

// checkTarget checks what can be seen before variables are expanded.
func checkTarget(target string) string {
	if strings.IndexByte(target, 0) >= 0 {
		return "contains a NUL byte"
	}
	if _, problem := expand(target, knownVariable); problem != "" {
		return problem
	}
	if target == "" || !strings.ContainsAny(target[:1], "/~$") {
		return fmt.Sprintf("target %q is not absolute, begin it with \"/\", \"~/\" or a variable", target)
	}
	return ""
}

func (d *decoder) mount(target, key string, table map[string]any) {
	if len(table) == 0 { // a bind of the target to itself is still a mount
		d.set(&rows[find("mounts.*.type")], target, value{s: "bind"})
	}
	for name, v := range table {
		i := find(mountPrefix + name)
		if i < 0 {
			d.unknown(join(key, name), children(mountPrefix))
			continue
		}
		d.row(&rows[i], target, join(key, name), v)
	}
}

// short decodes "SOURCE[:ro|rw]".
func (d *decoder) short(target, key, text string) {
	source, access := text, "ro"
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.Contains(text[i:], "/") {
		source, access = text[:i], text[i+1:]
	}
	if access != "ro" && access != "rw" {
		d.refuse(key, fmt.Sprintf("unknown access %q, use \"ro\" or \"rw\"", access))
		return
	}
	r := &rows[find("mounts.*.source")]
	if source == "" {
		d.refuse(key, `has no source, write "SOURCE:ro" or "SOURCE:rw"`)
		return
	}
	if msg := r.checkText(source); msg != "" {
		d.refuse(key, msg)
		return
	}
	d.set(&rows[find("mounts.*.type")], target, value{s: "bind"})
	d.set(r, target, value{s: source})
	d.set(&rows[find("mounts.*.access")], target, value{s: access})
}
