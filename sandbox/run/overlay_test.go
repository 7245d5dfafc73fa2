package run

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/userns"
)

// TestOverlayOfNothing: of a start that failed no overlay is left, but one that
// something is in.
func TestOverlayOfNothing(t *testing.T) {
	for _, test := range []struct {
		name          string
		again, ran    bool
		writes, there bool
	}{
		{name: "nothing ran"},
		{name: "the command was executed unnoticed", writes: true, there: true},
		{name: "it ran", ran: true, there: true},
		{name: "it was there before", again: true, there: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			lower, store := t.TempDir(), t.TempDir()
			one := userns.Self(0, uint32(os.Getuid()))
			p := &sandbox.Plan{
				Name:    "test",
				IDs:     sandbox.IDs{Mode: "single", OuterUIDs: one, OuterGIDs: one},
				Overlay: sandbox.Overlay{Name: "it", Store: store, Driver: "kernel"},
				Mounts:  []sandbox.Mount{{Target: "/work", Source: lower, Upper: "upper", Work: "work"}},
			}
			held := lasting{plan: p, image: -1, claim: -1}
			if err := held.open(); err != nil {
				t.Fatal(err)
			}
			if test.again {
				held.ran = true
				held.close()
				p.Overlay.Again = true
				held = lasting{plan: p, image: -1, claim: -1}
				if err := held.open(); err != nil {
					t.Fatal(err)
				}
			}
			if test.writes {
				if err := os.WriteFile(filepath.Join(upper.Path(p.Overlay.Path(), "upper"), "written"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			held.ran = test.ran
			held.close()
			if _, err := os.Stat(p.Overlay.Path()); (err == nil) != test.there {
				t.Errorf("the overlay is there: %v, want %v", err == nil, test.there)
			}
		})
	}
}
