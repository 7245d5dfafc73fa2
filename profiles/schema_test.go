package profiles

import (
	"bytes"
	"go/format"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("sbx.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("sbx.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tree decodes a profile as a validator sees it.
func tree(t *testing.T, text string) any {
	t.Helper()
	var m map[string]any
	if _, err := toml.Decode(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSchemaAcceptsProfiles(t *testing.T) {
	schema := compileSchema(t)
	for _, name := range builtinNames() {
		text, _ := Source(name)
		if err := schema.Validate(plain(tree(t, text))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p, err := Load(Ref{Builtin: name}, testEnv)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(plain(tree(t, string(p.TOML())))); err != nil {
			t.Errorf("%s, rendered: %v", name, err)
		}
	}
}

// plain turns what the TOML parser makes into what a JSON parser would.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = plain(e)
		}
		return m
	case []map[string]any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = plain(e)
		}
		return list
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = plain(e)
		}
		return list
	case time.Time:
		return nil // JSON has no dates, and no key takes one
	}
	return v
}

// beyondSchema are the invalid profiles whose keys are all well formed: what is
// wrong lies between keys, in arithmetic, or outside of the file.
var beyondSchema = []string{
	"bind_access_overlay", "tmpfs_size_zero", "volume_name", "volume_no_source",
	"cpuset",
	"extends_builtin", "extends_escape", "extends_missing", "extends_self", "extends_user",
	"gid_map_overlap_outside", "home_access_mode", "home_hide_mode", "home_share_escape", "home_share_mode", "home_share_outside",
	"home_size_mode", "hostname_uts", "map_explicit", "mode_range", "mount_content_bind", "mount_file_source", "mount_mask_keys",
	"mount_none_inherited", "mount_size_bind", "mount_symlink_access", "mount_symlink_source", "mount_tmpfs_dev", "root_etc_source", "root_size", "root_upper",
	"seccomp_allow_unconfined", "seccomp_missing", "size_overflow", "target_dev", "target_dev_tmpfs", "target_duplicate", "target_proc", "target_unclean", "tilde_user", "time_offset",
	"uid_map_alone", "uid_map_large", "uid_map_mode", "uid_map_overlap_inside", "umask_range", "variable_in_target", "variable_own",
	"phase_all", "phase_command_twice", "phase_effect", "phase_secret", "phase_twice",
	"workspace_git_access", "workspace_git_read_only", "workspace_hide_access", "workspace_protect_access", "mount_short_variable", "env_set_nul",
}

func TestSchemaRefusesInvalid(t *testing.T) {
	schema := compileSchema(t)
	for _, test := range invalid {
		if strings.HasPrefix(test.name, "syntax") || test.name == "duplicate_key" {
			continue
		}
		text, err := os.ReadFile("testdata/invalid/" + test.name + ".toml")
		if err != nil {
			t.Fatal(err)
		}
		refused := schema.Validate(plain(tree(t, string(text)))) != nil
		if want := !slices.Contains(beyondSchema, test.name); refused != want {
			t.Errorf("%s: refused = %v, want %v", test.name, refused, want)
		}
	}
}

func TestGeneratedFiles(t *testing.T) {
	tables, err := Tables(os.DirFS("builtin"))
	if err != nil {
		t.Fatal(err)
	}
	if tables, err = format.Source(tables); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/PROFILES.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(doc, Reference()) {
		t.Error("docs/PROFILES.md is old: run go generate ./profiles")
	}
	for file, want := range map[string][]byte{"builtin_tables.go": tables, "sbx.schema.json": Schema()} {
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is old: run go generate ./profiles", file)
		}
	}
}

// The tables hold what reading the sources gives.
func TestBuiltinTables(t *testing.T) {
	for i := range builtins {
		b := &builtins[i]
		text, ok := Source(b.name)
		if !ok {
			t.Fatalf("%s has no source", b.name)
		}
		l := &layer{name: "builtin:" + b.name, text: text}
		if problems := l.decode(); len(problems) > 0 {
			t.Fatal(located(problems, []*layer{l}))
		}
		if !slices.Equal(l.extends, b.extends) || !sameSettings(l.settings, b.settings) {
			t.Errorf("%s: table and source differ", b.name)
		}
		if l.own("description") == "" {
			t.Errorf("%s has no description", b.name)
		}
	}
}

func sameSettings(a, b []setting) bool {
	return slices.EqualFunc(a, b, func(x, y setting) bool {
		return x.key == y.key && x.sub == y.sub && x.val.s == y.val.s && x.val.n == y.val.n && slices.Equal(x.val.l, y.val.l)
	})
}

// Each row is whole: later code relies on it without looking.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	fields := 0
	for _, list := range [][]row{fileRows, rows} {
		for i := range list {
			r := &list[i]
			if seen[r.path] {
				t.Errorf("%s is there twice", r.path)
			}
			seen[r.path] = true
			if r.wide == wideUnknown {
				t.Errorf("%s has no rule for what is a wider value", r.path)
			}
			if r.doc == "" || !strings.HasSuffix(r.doc, ".") {
				t.Errorf("%s: doc is not a sentence", r.path)
			}
			if (r.kind == kindEnum) != (len(r.enum) > 0) || (r.wide == wideRank || r.wide == widePolicy) != (len(r.order) > 0) {
				t.Errorf("%s: enum and order don't fit its kind and rule", r.path)
			}
			for _, word := range r.enum {
				if r.wide == wideRank && r.rank(word) == len(r.order) {
					t.Errorf("%s: %q has no rank", r.path, word)
				}
			}
			if r.needs != "" && find(r.needs) < 0 {
				t.Errorf("%s needs %s, which is no key", r.path, r.needs)
			}
			r.defaultValue() // panics if it is malformed
			if r.isMount() && r.wide != wideMount {
				t.Errorf("%s: mounts are compared as a whole", r.path)
			}
			if strings.HasPrefix(r.wideDoc(), "?") {
				t.Errorf("%s: the rule has no word in the reference", r.path)
			}
			if r.field != nil {
				fields++
			}
		}
	}
	// The fields that have no row of their own: Mounts, Mount.Target, Files, Phases, merged,
	// Security.SeccompText.
	if want := countFields(reflect.TypeFor[Profile]()) - 5 + countFields(reflect.TypeFor[Mount]()) - 1; fields != want {
		t.Errorf("%d rows have a field, the structs have %d", fields, want)
	}
}

// countFields counts the fields of a struct and of the structs in it.
func countFields(s reflect.Type) int {
	n := 0
	for f := range s.Fields() {
		if f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == s.PkgPath() {
			n += countFields(f.Type)
		} else {
			n++
		}
	}
	return n
}

func TestInit(t *testing.T) {
	for _, kind := range append(builtinNames(), "") {
		text, err := Init(kind)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("/proj/.sbx.toml", text, testEnv); err != nil {
			t.Errorf("%q: %v", kind, err)
		}
		// What is commented out must be right as well.
		var lines []string
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "# "); ok && (strings.HasPrefix(rest, "[") || strings.Contains(rest, " = ")) {
				line = rest
			}
			lines = append(lines, line)
		}
		if _, err := Parse("/proj/.sbx.toml", []byte(strings.Join(lines, "")), testEnv); err != nil {
			t.Errorf("%q with everything switched on: %v", kind, err)
		}
	}
	if _, err := Init("pyton"); err == nil || !strings.HasPrefix(err.Error(), `no built-in profile "pyton" (did you mean "python"?), use one of agent, `) {
		t.Errorf("got %v", err)
	}
}
