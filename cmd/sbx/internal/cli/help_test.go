package cli

import "testing"

func TestWrap(t *testing.T) {
	if got, want := wrap("aa bb  cc\ndd", "  ", 8), "  aa bb\n  cc dd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
