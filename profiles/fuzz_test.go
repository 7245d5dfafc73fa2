package profiles

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// FuzzParse checks that no text makes Parse panic, that every problem has a
// place in the file, that no key is taken that the schema lacks, and that what
// was read is rendered and read again without a change.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/invalid/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	sources, err := filepath.Glob("builtin/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, sources...) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("/proj/x.toml", []byte(text), testEnv)
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("%T is not Errors", err)
			}
			lines := strings.Count(text, "\n") + 1
			for _, e := range errs {
				if e.File == "/proj/x.toml" && (e.Line < 1 || e.Line > lines || e.Col < 1 || e.Msg == "") {
					t.Fatalf("no place or message: %+v", e)
				}
			}
			return
		}
		if key := unknownKey(text); key != "" {
			t.Fatalf("%s was taken", key)
		}
		rendered := p.TOML()
		again, err := Parse("/proj/x.toml", rendered, testEnv)
		if err != nil {
			t.Fatalf("%v\n%s", err, rendered)
		}
		if got, want := exported(again), exported(p); !reflect.DeepEqual(got, want) {
			t.Fatalf("got\n%+v\nwant\n%+v\n%s", got, want, rendered)
		}
		if grants := again.Widens(p); p.ownWorkspace() && len(grants) > 0 {
			t.Fatalf("widens itself: %v", grants)
		}
	})
}

// unknownKey returns a key of a text that is not in the schema.
func unknownKey(text string) string {
	var tree map[string]any
	meta, err := toml.Decode(text, &tree)
	if err != nil {
		return ""
	}
	for _, key := range meta.Keys() {
		if len(key) > 1 && key[0] == "phase" {
			if key = key[1:]; len(key) == 1 && (key[0] == "name" || shorts(key[0])) || key[0] == "extends" || key[0] == "version" {
				continue
			}
		}
		path := strings.Join(key, ".")
		switch {
		case key[0] == "mounts" && len(key) == 3:
			path = mountPrefix + key[2]
		case key[0] == "mounts" && len(key) < 3, len(key) == 1 && isTable(key[0]), len(key) == 3 && path == "environment.set."+key[2]:
			continue
		}
		if find(path) < 0 && !(len(key) == 2 && key[0] == "secrets") && path != "version" && path != "extends" && path != "phase" {
			return path
		}
	}
	return ""
}
