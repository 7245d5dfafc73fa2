package changes

import (
	"encoding/json"
	"testing"

	"github.com/sbx-sandbox/sbx/overlay/change"
	"github.com/sbx-sandbox/sbx/overlay/patch"
)

// item is a change in JSON.
type item struct {
	change.JSON
	Verdict, Gate, Reason string
	Strip                 []string
}

func (i *item) path() string {
	if i.Bytes != nil {
		return string(i.Bytes)
	}
	return i.Path
}

func (i *item) shown() string {
	if i.path() == "" {
		return "."
	}
	return patch.Quote(i.path())
}

// changes are those that diff --json lists.
func (l *layered) changes(t testing.TB, args ...string) []item {
	t.Helper()
	got := l.sbx(t, append([]string{"diff", "--json"}, args...)...)
	var x struct {
		Layers []struct {
			Changes  []item
			Problems []change.Problem
		}
	}
	if err := json.Unmarshal([]byte(got.out), &x); err != nil || got.code != 0 || got.err != "" || len(x.Layers) != 1 {
		t.Fatalf("diff --json: status %d, %v\n%s%s", got.code, err, got.out, got.err)
	}
	for _, p := range x.Layers[0].Problems {
		t.Errorf("%s: %s", p.Path, p.Why)
	}
	return x.Layers[0].Changes
}
