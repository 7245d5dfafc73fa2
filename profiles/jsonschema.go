package profiles

import (
	"encoding/json"
	"strings"
)

// Schema returns the JSON Schema (draft 2020-12) of a profile, for editors. It
// describes single keys; which keys go together only Load knows.
func Schema() []byte {
	root := object()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "sbx profile"
	root["required"] = []string{"version"}
	mount := object()
	props := root["properties"].(map[string]any)
	for i := range fileRows {
		props[fileRows[i].path] = fileRows[i].schema()
	}
	for i := range rows {
		r := &rows[i]
		if r.isMount() {
			mount["properties"].(map[string]any)[r.leaf()] = r.schema()
			continue
		}
		if table := parent(r.path); table != "" {
			if props[table] == nil {
				props[table] = object()
			}
			props[table].(map[string]any)["properties"].(map[string]any)[r.leaf()] = r.schema()
			continue
		}
		props[r.path] = r.schema()
	}
	props["phase"] = phaseSchema(props)
	short := map[string]any{"type": "string", "description": "SOURCE[:ro|rw]", "pattern": `^[^:]*[^:]$|^.+:(ro|rw)$|^.*:.*/`}
	props["mounts"] = map[string]any{
		"type":                 "object",
		"description":          "Mounts by target, an absolute path inside.",
		"propertyNames":        map[string]any{"pattern": `^(/.|~/.|\$)`},
		"additionalProperties": map[string]any{"anyOf": []any{short, mount}},
	}
	props["phase"].(map[string]any)["items"].(map[string]any)["properties"].(map[string]any)["mounts"] = props["mounts"]
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("profiles: schema: " + err.Error())
	}
	return append(text, '\n')
}

// phaseSchema is the schema of the tables [[phase]]: a profile's tables, and keys
// of their own.
func phaseSchema(profile map[string]any) map[string]any {
	item := object()
	item["required"] = []string{"name"}
	props := item["properties"].(map[string]any)
	for name, s := range profile {
		if name != "version" && name != "extends" && name != "phase" {
			props[name] = s
		}
	}
	for i := range phaseRows {
		props[phaseRows[i].leaf()] = phaseRows[i].schema()
	}
	return map[string]any{"type": "array", "items": item,
		"description": "Steps that run in order, each in a sandbox of its own: that of the profile, with these tables on top."}
}

// object is the schema of a table without keys.
func object() map[string]any {
	return map[string]any{"type": "object", "properties": map[string]any{}, "additionalProperties": false}
}

// Patterns of the schema, in what the dialects of ECMA-262, Go and Rust share,
// for editors use all of them: no look-ahead.
const (
	namePattern     = `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`
	hostnamePattern = `^$|^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`
	sizePattern     = `^[0-9]+ ?([kKmMgGtT]([iI]?[bB])?|[bB])?$`
	durationPattern = `^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
)

// schema is the schema of one key.
func (r *row) schema() map[string]any {
	s := r.typeSchema()
	s["description"] = r.doc
	if v, ok := r.jsonDefault(); ok {
		s["default"] = v
	}
	return s
}

func (r *row) typeSchema() map[string]any {
	switch r.kind {
	case kindEnum:
		if len(r.named) > 0 {
			return map[string]any{"anyOf": []any{map[string]any{"enum": r.enum}, map[string]any{"type": "string", "pattern": namedPattern(r.named)}}}
		}
		return map[string]any{"enum": r.enum}
	case kindBool:
		return map[string]any{"type": "boolean"}
	case kindInt:
		return r.orUnlimited(r.bounded())
	case kindOctal:
		return map[string]any{"type": "string", "pattern": "^[0-7]+$"}
	case kindSize:
		return r.orUnlimited(r.bounded(), map[string]any{"type": "string", "pattern": sizePattern})
	case kindDuration:
		pattern := durationPattern
		if r.min == 0 {
			pattern = strings.Replace(pattern, "[-+]", "[+]", 1)
		}
		return r.orUnlimited(map[string]any{"const": 0}, map[string]any{"type": "string", "pattern": pattern})
	case kindThousandths:
		return r.orUnlimited(map[string]any{"const": 0}, map[string]any{"type": "number", "minimum": float64(r.min) / 1000}, map[string]any{"type": "string", "pattern": `^[0-9]+(\.[0-9]{0,3})?$`})
	case kindList, kindIDMap:
		return map[string]any{"type": "array", "items": r.textSchema()}
	case kindMap:
		names := "^[A-Za-z_][A-Za-z0-9_]*$"
		if r.form == formSecretSource {
			names = namePattern
		}
		return map[string]any{"type": "object", "propertyNames": map[string]any{"pattern": names}, "additionalProperties": r.textSchema()}
	}
	return r.textSchema()
}

// namedPattern is of words with a name, or of networks with several.
func namedPattern(words []string) string {
	name := strings.Trim(namePattern, "^$")
	var list []string
	for _, w := range words {
		text := w + ":" + name
		if w == "network" {
			text += "(," + name + ")*"
		}
		list = append(list, text)
	}
	return "^(" + strings.Join(list, "|") + ")$"
}

func (r *row) bounded() map[string]any {
	s := map[string]any{"type": "integer", "minimum": r.min}
	if r.max != 0 {
		s["maximum"] = r.max
	}
	return s
}

// orUnlimited offers the schemas as alternatives, with "unlimited" and -1
// where r takes them.
func (r *row) orUnlimited(list ...any) map[string]any {
	if r.unlimited {
		list = append(list, map[string]any{"enum": []any{"unlimited", -1}})
	}
	if len(list) == 1 {
		return list[0].(map[string]any)
	}
	return map[string]any{"anyOf": list}
}

// textSchema is the schema of a text, or of an entry of a list.
func (r *row) textSchema() map[string]any {
	s := map[string]any{"type": "string"}
	switch {
	case r.kind == kindIDMap:
		s["pattern"] = "^[0-9]+:[0-9]+:[1-9][0-9]*$"
	case r.form == formName:
		s["pattern"] = namePattern
	case r.form == formAnyName:
		s["pattern"] = "^$|" + namePattern
	case r.form == formHostname:
		s["pattern"] = hostnamePattern
		s["maxLength"] = 64
	case r.form == formSignal:
		s["enum"] = signals
	case r.form == formEnvGlob:
		s["pattern"] = "^[A-Za-z_*?][A-Za-z0-9_*?]*$"
	case r.form == formTreeGlob:
		s["pattern"] = "^[^/~]"
		s["not"] = map[string]any{"pattern": `(^|/)\.\.(/|$)`}
	case r.form == formFeature:
		s["pattern"] = "^[a-z0-9_.-]+$"
	case r.form == formExtends:
		s["pattern"] = `^(builtin:|user:|/|\./|\.\./|~|\$)`
	case r.form == formRoot:
		s["pattern"] = `^(host|empty|image:.+|/.*|\.\.?(/.*)?|~.*|\$.*)$`
	case r.form == formPolicy:
		s["pattern"] = `^(` + strings.Join(policies, "|") + `|/.*|\.\.?(/.*)?|~.*|\$.*)$`
	case r.form == formSecret:
		s["pattern"] = `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(:[A-Za-z_][A-Za-z0-9_]*)?$`
	case r.form == formSecretSource:
		s["pattern"] = `^(env:[A-Za-z_][A-Za-z0-9_]*|file:(/|\.\.?(/|$)|~|\$).*)$`
	case r.form == formCall:
		s["pattern"] = `^(@[a-z][a-z-]*|[a-z_][a-z0-9_]*)$`
	case r.form == formByteRate:
		s["pattern"] = "^/.*:[0-9]+ ?[A-Za-z]*$"
	case r.form == formRate:
		s["pattern"] = "^/.*:[0-9]+$"
	case r.form == formCPUs:
		s["pattern"] = `^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$`
	case r.form == formHomePath || r.form == formHomeGlob:
		s["minLength"] = 1
		fallthrough
	case r.vars:
		names := strings.Join(variables, "|")
		if r.leaf() == "command" {
			names += "|ARGS"
		}
		s["pattern"] = `^([^$]|\$[^{]|\$$|\$\{(` + names + `)\})*$`
	}
	return s
}

// jsonDefault is r's default as JSON, if it is one that can be written.
func (r *row) jsonDefault() (any, bool) {
	if r.defNote != "" || r.isMount() && r.def == "" || r.path == "version" {
		return nil, false
	}
	switch r.kind {
	case kindBool:
		return r.def == "true", true
	case kindInt:
		return r.defaultValue().n, true
	case kindSize, kindDuration, kindThousandths:
		if r.def == "" {
			return 0, true
		}
	case kindList, kindIDMap:
		return []string{}, true
	case kindMap:
		return map[string]any{}, true
	}
	return r.def, true
}
