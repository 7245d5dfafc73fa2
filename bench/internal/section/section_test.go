package section

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.md")
	for _, step := range []struct{ heading, text, want string }{
		{"## B", "b", "# A\n\nText ## C\n\n## B\n\nb\n"},
		{"## C", "c", "# A\n\nText ## C\n\n## B\n\nb\n\n## C\n\nc\n"},
		{"## B", "new\n", "# A\n\nText ## C\n\n## B\n\nnew\n\n## C\n\nc\n"},
		{"## C", "last", "# A\n\nText ## C\n\n## B\n\nnew\n\n## C\n\nlast\n"},
	} {
		if step.text == "b" {
			if err := os.WriteFile(path, []byte("# A\n\nText ## C\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := Replace(path, step.heading, step.text); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != step.want {
			t.Fatalf("%s: %q, %v; want %q", step.heading, got, err, step.want)
		}
	}
	if got, err := Tail(path, "## C"); err != nil || got != "## C\n\nlast\n" {
		t.Errorf("tail %q, %v", got, err)
	}
	if got, err := Tail(path, "## C", "## B", "## None"); err != nil || got != "## B\n\nnew\n\n## C\n\nlast\n" {
		t.Errorf("tail from the first of two %q, %v", got, err)
	}
	if got, err := Tail(path+"x", "## C"); err != nil || got != "" {
		t.Errorf("of no file %q, %v", got, err)
	}
}
