package table

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	tab := Table{Head: []string{"name", "ratio", "failures"}}
	tab.Add("µ", "0.123", "0")
	tab.Add("longer", "not run: a reason as long as it likes")
	var b strings.Builder
	if err := tab.Text(&b); err != nil {
		t.Fatal(err)
	}
	want := "name    ratio  failures\n" +
		"µ       0.123         0\n" +
		"longer  not run: a reason as long as it likes\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestMarkdown(t *testing.T) {
	tab := Table{Head: []string{"name", "ratio", "failures"}}
	tab.Add("a|b", "not run")
	var b strings.Builder
	if err := tab.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	want := "| name | ratio | failures |\n|---|---:|---:|\n| a\\|b | not run |  |\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
