package profiles

import (
	"fmt"
	"strings"
)

// Key is one key of the file format, for completion and manual pages.
type Key struct {
	Name    string // dotted; mounts.*.KEY for those of a mount
	Value   string // what may be written, in Markdown
	Default string // in Markdown
	Doc     string
}

// Keys lists the keys of a file in the order of the reference.
func Keys() []Key {
	list := make([]Key, 0, len(fileRows)+len(rows))
	for _, table := range [][]row{fileRows, rows, phaseRows} {
		for i := range table {
			r := &table[i]
			list = append(list, Key{Name: r.path, Value: r.valueDoc(), Default: r.defaultDoc(), Doc: r.meaning()})
		}
	}
	return list
}

// Reference returns a Markdown table of all keys, in the schema's order.
func Reference() []byte {
	var b strings.Builder
	b.WriteString("| key | value | default | merge | a wider value is a grant | meaning |\n|---|---|---|---|---|---|\n")
	for _, list := range [][]row{fileRows, rows, phaseRows} {
		for i := range list {
			r := &list[i]
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", r.path, r.valueDoc(), r.defaultDoc(), r.mergeDoc(), r.wideDoc(), r.meaning())
		}
	}
	return []byte(b.String())
}

// valueDoc says what may be written.
func (r *row) valueDoc() string {
	doc := ""
	switch r.kind {
	case kindEnum:
		words := make([]string, len(r.enum))
		for i, w := range r.enum {
			words[i] = "`\"" + w + "\"`"
		}
		for _, w := range r.named {
			words = append(words, "`\""+w+":NAME\"`")
		}
		doc = strings.Join(words, ", ")
	case kindBool:
		doc = "boolean"
	case kindInt:
		doc = fmt.Sprintf("integer, %d or more", r.min)
		if r.max == r.min {
			doc = fmt.Sprint(r.max)
		} else if r.max != 0 {
			doc = fmt.Sprintf("integer, %d to %d", r.min, r.max)
		}
	case kindOctal:
		doc = "octal string"
	case kindSize:
		doc = "size"
	case kindDuration:
		doc = "duration"
	case kindThousandths:
		doc = "number, as `1.5`"
	case kindList:
		doc = "list of " + r.formDoc("strings", "paths", "globs")
	case kindMap:
		doc = "table of `NAME = \"value\"`"
	case kindIDMap:
		doc = "list of `\"inside:outside:count\"`"
	default:
		doc = r.formDoc("string", "path", "glob")
	}
	if r.unlimited {
		doc += ", `\"unlimited\"`"
	}
	return doc
}

func (r *row) formDoc(text, path, glob string) string {
	switch r.form {
	case formPath, formHomePath, formSource:
		return path
	case formRoot:
		return "`\"host\"`, `\"empty\"`, `\"image:NAME\"`, " + path
	case formPolicy:
		return "`\"" + strings.Join(policies, "\"`, `\"") + "\"`, " + path
	case formCall, formDomain, formMember:
		return "names"
	case formSecret:
		return "`\"NAME\"`, `\"NAME:VARIABLE\"`"
	case formRule:
		return "rules"
	case formServer:
		return "addresses"
	case formPublish, formHostPort:
		return "ports"
	case formByteRate:
		return "`\"PATH:SIZE\"`"
	case formRate:
		return "`\"PATH:N\"`"
	case formCPUs:
		return "processors, as `\"0-3,8\"`"
	case formEnvGlob, formTreeGlob, formHomeGlob:
		return glob
	}
	return text
}

func (r *row) defaultDoc() string {
	switch {
	case r.path == "version":
		return "required"
	case strings.HasPrefix(r.defNote, "[") || strings.HasPrefix(r.defNote, `"`) && !strings.Contains(r.defNote, " "):
		return "`" + r.defNote + "`"
	case r.defNote != "":
		return r.defNote
	case r.kind == kindList || r.kind == kindIDMap:
		return "`[]`"
	case r.kind == kindMap:
		return "`{}`"
	case r.kind == kindBool || r.kind == kindInt && r.def != "":
		return "`" + r.def + "`"
	case r.def == "" && (r.kind == kindInt || r.kind == kindSize || r.kind == kindDuration || r.kind == kindThousandths):
		return "`0`"
	}
	return "`\"" + r.def + "\"`"
}

func (r *row) mergeDoc() string {
	switch {
	case r.path == "version" || r.path == "extends" || r.path == "name" || r.path == "description":
		return "each file's own"
	case r.kind == kindMap:
		return "by name"
	case (r.kind == kindList || r.kind == kindIDMap) && !r.replaces():
		return "append"
	}
	return "override"
}

func (r *row) wideDoc() string {
	switch r.wide {
	case wideNever:
		return "no"
	case wideRank:
		return strings.ReplaceAll(strings.Join(r.order, " < "), "=", " = ")
	case wideTrue:
		return "true"
	case wideFalse:
		return "false"
	case wideMore, wideLimit:
		return "more"
	case wideLess:
		return "less"
	case wideAdded, wideEnvPass:
		return "new entries"
	case wideRemoved:
		return "missing entries"
	case wideTmpfs:
		return "beyond the memory budget"
	case wideName:
		return "another persistent home"
	case wideRoot:
		return "another root"
	case widePlace:
		return "another directory"
	case wideWorkspace:
		return "outside the project"
	case wideMount:
		return "see Trust"
	case widePolicy:
		return strings.Join(r.order, " < ") + "; a file"
	case wideSecret:
		return "new entries, other sources"
	case wideCalls, wideRules, wideListed:
		return "new entries"
	case wideRates:
		return "more, or missing entries"
	case wideCPUs:
		return "more processors"
	}
	return "?"
}

// meaning is r's sentence, and the condition under which it means something.
func (r *row) meaning() string {
	doc := strings.ReplaceAll(r.doc, "|", "\\|")
	switch {
	case r.not != nil:
		return doc + " Not with `" + r.needs + "` = " + either(r.not) + "."
	case r.needs != "":
		return doc + " Only with `" + r.needs + "` = " + either(r.in) + "."
	case r.in != nil:
		return doc + " Only with type " + either(r.in) + "."
	}
	return doc
}
