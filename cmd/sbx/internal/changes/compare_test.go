package changes

import (
	"testing"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// TestNothingToCompare: two overlays of which no layer can be compared.
func TestNothingToCompare(t *testing.T) {
	a, b := &Layers{Record: &upper.Record{Name: "a"}}, &Layers{Record: &upper.Record{Name: "b"}}
	const want = "the two are overlays of different directories, none that can be compared and none that can be compared"
	if err := compareSides(&cli.Invocation{}, a, b, &compareOptions{}); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
