package export

import (
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// What a Pod's manifest would take for variables is written so that it is none.
func TestKubeDollars(t *testing.T) {
	p := &sandbox.Plan{}
	p.Process.Argv = []string{"sh", "-c", "kill $$; echo $(HOME) $HOME $$(x)"}
	p.Process.Env = []string{"PRICE=5$$ $(HOME)"}
	p.Health.Argv = []string{"test", "$$", "$(x)"}
	text, _ := ToKube(p, "x", "image")
	for _, want := range []string{
		`command: ["sh","-c","kill $$$$; echo $$(HOME) $$HOME $$$$(x)"]`,
		`value: "5$$$$ $$(HOME)"`,
		`command: ["test","$$$$","$$(x)"]`,
	} {
		if !slices.ContainsFunc(strings.Split(text, "\n"), func(l string) bool { return strings.TrimSpace(l) == want }) {
			t.Errorf("no line %s in\n%s", want, text)
		}
	}
}
