package profiles

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// AllPhases is what stands for every phase where one is named, so none has this
// name.
const AllPhases = "all"

// ArgsEntry is an entry of a phase's command that stands for the words of the
// run's command from the third on: what follows "pip install".
const ArgsEntry = "${ARGS}"

// phases decodes the tables [[phase]]. Each is a layer by itself, read by the
// same rows as a file.
func (d *decoder) phases(v any) {
	tables, ok := v.([]map[string]any)
	if list, isList := v.([]any); isList && !ok { // inline tables
		for _, e := range list {
			t, isTable := e.(map[string]any)
			if !isTable {
				d.refuse("phase", "must be a list of tables, write [[phase]] above each one's keys")
				return
			}
			tables = append(tables, t)
		}
		ok = true
	}
	if !ok {
		d.refuse("phase", fmt.Sprintf("must be a list of tables, not %s; write [[phase]] above each one's keys", typeName(v)))
		return
	}
	for i, table := range tables {
		d.phase(fmt.Sprintf("phase[%d]", i), table)
	}
}

// phase decodes one table [[phase]].
func (d *decoder) phase(key string, table map[string]any) {
	l := d.layer
	in := decoder{layer: &layer{name: l.name, path: l.path, dir: l.dir, stem: l.stem, base: l, inner: key}}
	name, msg := phaseRows[0].scalar(table["name"])
	switch {
	case table["name"] == nil:
		in.problems = append(in.problems, problem{layer: in.layer, msg: `has no name, write name = "fetch" or the like`})
	case msg != "":
		in.refuse("name", msg)
	case name.s == AllPhases:
		in.refuse("name", fmt.Sprintf("%q stands for every phase, choose another name", name.s))
	case slices.ContainsFunc(l.phases, func(p *layer) bool { return p.phase == name.s }):
		in.refuse("name", fmt.Sprintf("%q is the name of a phase above, keep one of them", name.s))
	default:
		in.layer.phase = name.s
	}
	rest := map[string]any{}
	for k, v := range table {
		switch {
		case k == "name":
		case k == "version" || k == "extends" || k == "phase" || k == "secrets" && typeName(v) == "a table":
			in.refuse(k, "belongs to the file and can't be set for one phase")
		default:
			rest[k] = v
		}
	}
	process, isTable := rest["process"].(map[string]any)
	for _, r := range phaseRows[1:] {
		v, given := rest[r.leaf()]
		if !given {
			continue
		}
		delete(rest, r.leaf())
		if _, twice := process[r.leaf()]; twice && isTable {
			in.refuse(r.leaf(), "is set as process."+r.leaf()+" too, keep one of them")
			continue
		}
		in.row(&rows[find("process."+r.leaf())], "", r.leaf(), v)
	}
	in.table("", rest)
	slices.SortFunc(in.layer.settings, compareSettings)
	d.problems = append(d.problems, in.problems...)
	if in.layer.phase != "" {
		l.phases = append(l.phases, in.layer)
	}
}

// shorts reports whether a key of a phase may be written without its table.
func shorts(key string) bool {
	return slices.ContainsFunc(phaseRows[1:], func(r row) bool { return r.leaf() == cutIndex(key) })
}

// phaseNames are the names of the phases of all files, each where it came first.
func (m *merged) phaseNames() []string {
	var names []string
	for _, l := range m.layers {
		for _, p := range l.phases {
			if !slices.Contains(names, p.phase) {
				names = append(names, p.phase)
			}
		}
	}
	return names
}

// Phase returns the profile of one phase of p: p with the phase's tables on top,
// as if they were one more file. What flags set is stronger still: put them on
// what Phase returns, see With. The command is the phase's own, with ArgsEntry as
// it is; a phase without one has p's.
func (p *Profile) Phase(name string) (*Profile, error) {
	if p.merged == nil || !slices.Contains(p.Phases, name) {
		return nil, fmt.Errorf("no phase %q%s, the profile %s has %s", name, hint(name, p.Phases), p.Name, either(p.Phases))
	}
	m := p.merged.inPhase(name)
	if len(m.problems) > 0 {
		return nil, located(m.problems, m.layers)
	}
	out := m.profile()
	out.Name, out.Files = p.Name, p.Files
	return out, nil
}

// inPhase merges the layers of m once more, with those of a phase behind them.
func (m *merged) inPhase(name string) *merged {
	out := &merged{env: m.env, layers: slices.Clone(m.layers), workspace: m.workspace, phase: name, phaseAt: len(m.layers)}
	for _, l := range m.layers {
		for _, p := range l.phases {
			if p.phase == name {
				out.layers = append(out.layers, p)
			}
		}
	}
	own := slices.ContainsFunc(out.layers[out.phaseAt:], func(l *layer) bool { return l.own("workspace.path") != "" })
	if own {
		out.workspace = "" // for merge to find
	}
	out.merge()
	for _, key := range []string{"name", "description", "workspace.path"} {
		if i := find(key); !own || key != "workspace.path" {
			out.slots[i] = m.slots[i]
		}
	}
	return out
}

// checkPhases merges each phase for what is wrong with it.
func (m *merged) checkPhases() {
	for _, name := range m.phaseNames() {
		for _, p := range m.inPhase(name).problems {
			if p.layer.base != nil {
				m.problems = append(m.problems, p)
			}
		}
	}
}

// OwnCommand reports whether p, which Phase returned, has a command that its
// phase sets.
func (p *Profile) OwnCommand() bool {
	m := p.merged
	if m == nil || m.phase == "" {
		return false
	}
	s := m.slots[find("process.command")]
	return s.set && m.layers[s.from].phase != ""
}

// Secret is one entry of process.secrets.
type Secret struct {
	Name     string
	Variable string // "" = the file /run/secrets/NAME
	// Env and File are where it comes from: a variable of the caller's, or an
	// absolute path.
	Env, File string
}

// Secret takes an entry of process.secrets apart.
func (p *Profile) Secret(entry string) Secret {
	s := Secret{}
	s.Name, s.Variable, _ = strings.Cut(entry, ":")
	source := p.Secrets[s.Name]
	s.Env, _ = strings.CutPrefix(source, "env:")
	if file, ok := strings.CutPrefix(source, "file:"); ok {
		s.Env, s.File = "", file
	}
	return s
}

// checkSecret checks the text of an entry of process.secrets.
func checkSecret(s string) string {
	name, variable, named := strings.Cut(s, ":")
	if !validName(name) || named && !validEnvName(variable, "") {
		return fmt.Sprintf(`%q is neither a secret's name nor NAME:VARIABLE, write for example "token" or "token:NPM_TOKEN"`, s)
	}
	return ""
}

// checkSecretSource checks what can be seen before variables are expanded.
func checkSecretSource(s string) string {
	kind, rest, _ := strings.Cut(s, ":")
	if kind == "env" && validEnvName(rest, "") || kind == "file" && isPathText(rest) {
		return ""
	}
	return fmt.Sprintf(`%q is no source of a secret, write "env:VARIABLE" or "file:PATH", the path with a slash`, s)
}

// secretSource makes a source's path absolute.
func secretSource(text string, sc scope) (string, string) {
	file, ok := strings.CutPrefix(text, "file:")
	if !ok {
		return text, ""
	}
	path := file
	if strings.HasPrefix(file, "~/") {
		if sc.env.Home == "" {
			return "", "the home directory is not known; set HOME or write the path"
		}
		path = sc.env.Home + file[1:]
	} else if !filepath.IsAbs(file) {
		path = filepath.Join(sc.dir, file)
	}
	if !filepath.IsAbs(path) || strings.HasPrefix(file, "~") && !strings.HasPrefix(file, "~/") {
		return "", fmt.Sprintf("%q is not absolute, write the whole path", file)
	}
	return "file:" + filepath.Clean(path), ""
}

// checkSecrets refuses what hands out a secret that there is none of.
func (m *merged) checkSecrets() {
	s := m.slots[find("process.secrets")]
	for i, entry := range s.val.l {
		name, _, _ := strings.Cut(entry, ":")
		known := slices.ContainsFunc(m.vars, func(v envSlot) bool { return v.key == "secrets" && v.name == name })
		if at := s.items[i]; !known && !m.layers[at.layer].bad["secrets"] {
			m.problems = append(m.problems, problem{layer: m.layers[at.layer], key: fmt.Sprintf("process.secrets[%d]", at.index), value: true,
				msg: fmt.Sprintf("no secret %q, write %s = \"env:VARIABLE\" or \"file:PATH\" under [secrets]", name, name)})
		}
	}
}

// SecretVariables are the caller's variables that are secrets' sources, which
// nobody gets by environment.pass.
func (p *Profile) SecretVariables() []string {
	var names []string
	for _, source := range p.Secrets {
		if name, ok := strings.CutPrefix(source, "env:"); ok {
			names = append(names, name)
		}
	}
	return names
}
