package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckName(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for _, tt := range []struct {
		name string
		good bool
	}{
		{"debian", true}, {"debian:12", true}, {"a/b/c:v1.0_x-y", true}, {"localhost:5000/a", true}, {"localhost:5000/a:1", true},
		{"Host.example/a", true}, {"a@" + digest, true}, {"host:1/a:t@" + digest, true}, {"0", true},
		{"", false}, {":", false}, {"a:", false}, {":a", false}, {"/a", false}, {"a/", false}, {"a//b", false}, {"A", false}, {"a/B", false},
		{"-a", false}, {".a", false}, {"a/../b", false}, {"a:b/c", false}, {"a:-x", false}, {"a b", false}, {"a\n", false}, {"é", false},
		{"a@sha256:12", false}, {"a@md5:00", false}, {"a@" + strings.ToUpper(digest), false}, {strings.Repeat("a", 256), false}, {"a:" + strings.Repeat("t", 129), false},
	} {
		if err := CheckName(tt.name); (err == nil) != tt.good {
			t.Errorf("CheckName(%q) = %v", tt.name, err)
		}
	}
}

func TestFind(t *testing.T) {
	a, b := strings.Repeat("a", 64), "abc123"+strings.Repeat("b", 58)
	x := Index{Names: map[string]string{"base:latest": a, "base:2": b, "reg.example/p/tool:latest": b, "reg.example/q/tool:latest": a, "reg.example/one:3": a}, IDs: []string{a, b}}
	for _, tt := range []struct {
		name, want, err string
	}{
		{"base", a, ""}, {"base:latest", a, ""}, {"base:2", b, ""}, {"one:3", a, ""}, {"p/tool", b, ""},
		{"abc123", b, ""}, {b, b, ""}, {"aaaaaa", a, ""},
		{"base:3", "", "no such image"}, {"ase", "", "no such image"}, {"abc12", "", "no such image"}, {"", "", "no such image"}, {"ffffff", "", "no such image"},
		{"tool", "", `"tool" means more than one image`},
	} {
		got, err := x.Find(tt.name)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("Find(%q) = %q, %v", tt.name, got, err)
		}
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	rec := func(id string, names ...string) *Record {
		return &Record{Version: Version, ID: strings.Repeat(id, 64), Names: names, Layers: []string{"l/ABC"}, Imported: time.Unix(1, 0).UTC()}
	}
	if x, stale, err := LoadIndex(dir); err != nil || stale || len(x.Names) != 0 {
		t.Fatalf("without any: %v, %v, %v", x, stale, err)
	}
	if err := Save(dir, []*Record{rec("a", "one:latest"), rec("b")}); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(LockPath(dir, strings.Repeat("a", 64)))
	if err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, []*Record{rec("a", "two:latest")}); err != nil {
		t.Fatal(err)
	}
	x, stale, err := LoadIndex(dir)
	if err != nil || stale || len(x.Names) != 1 || len(x.IDs) != 1 {
		t.Fatalf("index %v, stale %v, %v", x, stale, err)
	}
	r, err := Load(dir, x.Names["two:latest"])
	if err != nil || r.Names[0] != "two:latest" {
		t.Errorf("record %+v, %v", r, err)
	}
	after, err := os.Stat(LockPath(dir, strings.Repeat("a", 64)))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the lock was replaced, and with it whoever holds it: %v", err)
	}
	if _, err := Load(dir, strings.Repeat("b", 64)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a record that is gone: %v", err)
	}
	list := filepath.Join(dir, Storage, "overlay-images")
	if err := os.MkdirAll(list, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(list, "images.json"), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stale, err := LoadIndex(dir); err != nil || !stale {
		t.Errorf("the storage changed: stale %v, %v", stale, err)
	}
}

// TestLoadWrong: what becomes part of mount options is judged each time.
func TestLoadWrong(t *testing.T) {
	id := strings.Repeat("a", 64)
	for _, text := range []string{
		``, `{`, `{"version":2,"id":"ID","layers":["l/A"]}`, `{"version":1,"id":"b","layers":["l/A"]}`, `{"version":1,"id":"ID","layers":[]}`,
		`{"version":1,"id":"ID","layers":["l/A:/etc"]}`, `{"version":1,"id":"ID","layers":["l/A,upperdir=x"]}`, `{"version":1,"id":"ID","layers":["../A"]}`, `{"version":1,"id":"ID","layers":["l/"]}`,
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, recordsDir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(RecordPath(dir, id), []byte(strings.ReplaceAll(text, "ID", id)), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Load(dir, id); err == nil {
			t.Errorf("%s: %+v", text, r)
		}
	}
}
