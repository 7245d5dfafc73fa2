package profiles

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// maxDepth is how many profiles may extend one another in a chain.
const maxDepth = 10

// loader collects the files of one profile.
type loader struct {
	env      Env
	layers   []*layer // in the order of merging
	chain    []string // files being loaded, for cycles
	problems []problem
}

// Load reads a profile and everything it extends, and merges them. Problems
// with what the files say are Errors, all of them at once; a file that can't
// be read is any other error.
func Load(ref Ref, e Env) (*Profile, error) {
	l, err := open(ref, e)
	if err != nil {
		return nil, fmt.Errorf("reading profile %s: %w", ref, err)
	}
	return load(l, e, "")
}

// Parse is Load of a text that is already in memory. name stands for the file
// in messages; if it is an absolute path, the text counts as that file's.
func Parse(name string, text []byte, e Env) (*Profile, error) {
	l := &layer{name: name, text: string(text), dir: e.Cwd, stem: "stdin"}
	if filepath.IsAbs(name) {
		l.path, l.dir, l.stem = name, filepath.Dir(name), stem(name)
	}
	return load(l, e, "")
}

// open reads the file that ref names; a built-in is never read.
func open(ref Ref, e Env) (*layer, error) {
	switch {
	case ref.Builtin != "":
		b := findBuiltin(ref.Builtin)
		if b == nil {
			return nil, errors.New("no built-in profile has that name")
		}
		return builtinLayer(b), nil
	case ref.Path == "-":
		l := &layer{name: "-", dir: e.Cwd, stem: "stdin"}
		if e.Stdin == nil {
			return nil, errors.New("there is no standard input")
		}
		e.Seen.Spoil("a profile came from standard input")
		var err error
		l.text, err = readAll(e.Stdin)
		return l, err
	}
	text, err := e.readFile(ref.Path)
	if err != nil {
		return nil, err
	}
	return &layer{name: ref.Path, path: ref.Path, dir: filepath.Dir(ref.Path), stem: stem(ref.Path), text: text}, nil
}

// stem makes a profile's name from its file's.
func stem(path string) string {
	base := strings.TrimSuffix(filepath.Base(path), ".toml")
	if filepath.Base(path) == ProjectFile {
		base = filepath.Base(filepath.Dir(path))
	}
	return sanitize(base)
}

// sanitize replaces what may not stand in a name.
func sanitize(s string) string {
	b := []byte(s)
	for i := range b {
		if !isWord(b[i], "._-") {
			b[i] = '-'
		}
	}
	s = strings.TrimLeft(string(b), "._-")
	s = s[:min(len(s), 64)]
	if s == "" {
		return "sandbox"
	}
	return s
}

// load merges the profile whose last file is main. workspace, if not "",
// stands for the key workspace.path.
func load(main *layer, e Env, workspace string) (*Profile, error) {
	ld := loader{env: e}
	ld.add(main)
	m := &merged{layers: ld.layers, env: e, workspace: workspace, problems: ld.problems}
	m.merge()
	if len(m.problems) == 0 {
		m.checkPhases()
	}
	p := m.profile()
	if len(m.problems) > 0 {
		return nil, located(m.problems, m.layers)
	}
	return p, nil
}

// add decodes l, loads what it extends, and appends them in order.
func (ld *loader) add(l *layer) {
	ld.chain = append(ld.chain, l.name)
	defer func() { ld.chain = ld.chain[:len(ld.chain)-1] }()
	if !l.decoded {
		ld.problems = append(ld.problems, l.decode()...)
	}
	parents := l.extends
	implicit := !l.hasExtends && !strings.HasPrefix(l.name, "builtin:")
	if implicit {
		parents = []string{"builtin:build"}
	}
	for i, ref := range parents {
		if msg := ld.extend(l, ref); msg != "" {
			ld.problems = append(ld.problems, problem{layer: l, key: fmt.Sprintf("extends[%d]", i), msg: msg, value: true})
		}
	}
	ld.layers = append(ld.layers, l)
}

// extend loads one entry of extends; it returns what is wrong with it.
func (ld *loader) extend(l *layer, text string) string {
	ref, msg := ld.resolve(l, text)
	if msg != "" {
		return msg
	}
	name := ref.String()
	switch {
	case slices.Contains(ld.chain, name):
		return "cycle: " + strings.Join(append(slices.Clone(ld.chain), name), " -> ")
	case len(ld.chain) >= maxDepth:
		return fmt.Sprintf("more than %d profiles deep: %s", maxDepth, strings.Join(append(slices.Clone(ld.chain), name), " -> "))
	case slices.ContainsFunc(ld.layers, func(have *layer) bool { return have.name == name }):
		return "" // reached twice: it counts once, where it came first
	}
	parent, err := open(ref, ld.env)
	if err != nil {
		return fmt.Sprintf("reading %s: %v", name, err)
	}
	ld.add(parent)
	return ""
}

// resolve turns an entry of extends into a Ref. Names were checked before.
func (ld *loader) resolve(l *layer, text string) (Ref, string) {
	if strings.HasPrefix(text, "builtin:") || strings.HasPrefix(text, "user:") {
		ref, err := Find(text, ld.env)
		if err != nil {
			return Ref{}, err.Error()
		}
		return ref, ""
	}
	if l.dir == "" {
		return Ref{}, "a built-in extends only built-ins"
	}
	path, msg := scope{env: ld.env, dir: l.dir}.expandPath(text, l.dir)
	return Ref{Path: filepath.Clean(path)}, msg
}

// own returns a text that l itself sets, or "".
func (l *layer) own(key string) string {
	for i := range l.settings {
		if l.settings[i].key == key {
			return l.settings[i].val.s
		}
	}
	return ""
}
