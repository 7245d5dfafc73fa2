package profiles

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Override is one key that the command line sets over a profile.
type Override struct {
	Key   string // dotted; a mount's is mounts.TARGET.KEY, with or without quotes
	Value string // as text; of a list, one entry or a TOML list of strings
	Flag  string // the flag as messages name it: "--memory"
}

// Verbatim returns text so that it comes through expansion unchanged: what a
// shell has expanded already holds no variables of sbx's.
func Verbatim(text string) string { return escapeVars(text) }

// With returns p with the overrides on top, as if they were one more file that
// is read last: checked by the same schema, merged by the same rules. Relative
// paths are relative to the current directory. Problems are Errors whose File
// is the flag. p itself stays as it is.
//
// Whether a project's profile is trusted is a question about p, before With:
// what the command line adds is the user's own.
func (p *Profile) With(list []Override) (*Profile, error) {
	if len(list) == 0 || p.merged == nil {
		return p, nil
	}
	base := p.merged
	m := &merged{env: base.env, layers: slices.Clone(base.layers), workspace: base.workspace, phase: base.phase, phaseAt: base.phaseAt}
	stem := base.layers[len(base.layers)-1].stem
	named := map[string]bool{}
	for _, o := range list {
		l := &layer{name: o.Flag, dir: base.env.Cwd, stem: stem}
		m.problems = append(m.problems, l.override(o)...)
		m.layers = append(m.layers, l)
		named[o.Key] = true
	}
	if named["workspace.path"] {
		m.workspace = "" // for merge to find
	}
	m.merge()
	// Each file has its own name, and the workspace is where the file lies: what
	// merge leaves to the last file is here still that of p's last file.
	for _, key := range []string{"name", "description", "workspace.path"} {
		switch i := find(key); {
		case !named[key]:
			m.slots[i] = base.slots[i]
		case key != "workspace.path":
			m.slots[i] = lastOwn(m, i)
		}
	}
	if len(m.problems) > 0 {
		return nil, byFlag(located(m.problems, m.layers), list)
	}
	out := m.profile()
	out.Files = p.Files
	return out, nil
}

// lastOwn is the slot of a key that each file has to itself, taken from the
// last layer that sets it.
func lastOwn(m *merged, row int) slot {
	for i, l := range slices.Backward(m.layers) {
		if text := l.own(rows[row].path); text != "" {
			return slot{set: true, val: value{s: text}, from: i}
		}
	}
	return slot{}
}

// override decodes one key by the decoder that reads files.
func (l *layer) override(o Override) []problem {
	d := decoder{layer: l}
	switch o.Key {
	case "version", "extends":
		return []problem{{layer: l, key: o.Key, msg: "belongs to a file and can't be set here"}}
	}
	parts := splitKey(o.Key)
	v, msg := overrideValue(parts, o.Value)
	if msg != "" {
		return []problem{{layer: l, key: o.Key, msg: msg}}
	}
	for _, part := range slices.Backward(parts) {
		v = map[string]any{part: v}
	}
	d.table("", v.(map[string]any))
	return d.problems
}

// splitKey takes a dotted key apart. A mount's target need not be quoted: what
// follows its last dot is a key only if the schema has it.
func splitKey(key string) []string {
	rest, ok := strings.CutPrefix(key, "mounts.")
	if !ok {
		if name, ok := strings.CutPrefix(key, "environment.set."); ok {
			return []string{"environment", "set", name}
		}
		if name, ok := strings.CutPrefix(key, "secrets."); ok {
			return []string{"secrets", name}
		}
		return strings.Split(key, ".")
	}
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		target, _ := strconv.Unquote(quoted) // QuotedPrefix checked it
		if leaf, ok := strings.CutPrefix(rest[len(quoted):], "."); ok {
			return []string{"mounts", target, leaf}
		}
		return []string{"mounts", target}
	}
	if dot := strings.LastIndexByte(rest, '.'); dot > 0 && find(mountPrefix+rest[dot+1:]) >= 0 {
		return []string{"mounts", rest[:dot], rest[dot+1:]}
	}
	return []string{"mounts", rest}
}

// overrideValue gives text the type that the key's value has in a file.
func overrideValue(parts []string, text string) (any, string) {
	path := strings.Join(parts, ".")
	if parts[0] == "mounts" && len(parts) == 3 {
		path = mountPrefix + parts[2]
	}
	i := find(path)
	if i < 0 {
		return text, "" // a variable, a mount in short, or an unknown key
	}
	switch r := &rows[i]; r.kind {
	case kindBool:
		if text != "true" && text != "false" {
			return nil, fmt.Sprintf("must be true or false, not %q", text)
		}
		return text == "true", ""
	case kindInt:
		if r.unlimited && text == "unlimited" {
			return text, ""
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Sprintf("%q is not an integer", text)
		}
		return n, ""
	case kindSize, kindDuration:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && (r.kind == kindSize || n <= 0) {
			return n, ""
		}
	case kindThousandths:
		if text == "-1" {
			return int64(-1), ""
		}
	case kindList, kindIDMap:
		return overrideList(text)
	case kindMap:
		return nil, fmt.Sprintf("set one variable at a time, as in %s.NAME=VALUE", path)
	}
	return text, ""
}

// overrideList reads one entry, or a list as a file would have it.
func overrideList(text string) (any, string) {
	if !strings.HasPrefix(text, "[") {
		return []any{text}, ""
	}
	var tree map[string]any
	_, err := toml.Decode("x = "+text, &tree)
	list, ok := tree["x"].([]any)
	if err != nil || !ok || len(tree) != 1 {
		return nil, fmt.Sprintf(`%q is not a list, write one entry, or a list such as ["a", "b"]`, text)
	}
	return list, ""
}

// byFlag takes the positions off problems of overrides, which have no file,
// and the keys where the flag says it all.
func byFlag(errs Errors, list []Override) Errors {
	for _, e := range errs {
		i := slices.IndexFunc(list, func(o Override) bool { return o.Flag == e.File })
		if i < 0 {
			continue
		}
		e.Line, e.Col = 0, 0
		switch {
		case e.File == "--set":
		case strings.HasPrefix(e.Key, "mounts."):
			e.Key = strings.TrimPrefix(e.Key[len(parent(e.Key)):], ".")
			if find(mountPrefix+e.Key) < 0 { // the target, which the message names
				e.Key = ""
			}
		default:
			e.Key = ""
		}
	}
	return slices.CompactFunc(errs, func(a, b *Error) bool { return *a == *b })
}

// Nearest returns the candidate that word is most likely a slip of, or "".
func Nearest(word string, candidates []string) string { return nearest(word, candidates) }
