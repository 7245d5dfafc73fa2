package cli

import "testing"

func TestPlace(t *testing.T) {
	for _, tt := range []struct {
		origin string
		want   Problem
	}{
		{"", Problem{}},
		{"/a:b/p.toml:3:14", Problem{File: "/a:b/p.toml", Line: 3, Col: 14}},
		{"builtin:build:3:1", Problem{File: "builtin:build", Line: 3, Col: 1}},
		{"builtin:build", Problem{File: "builtin:build"}},
		{"--set", Problem{Flag: "--set"}},
	} {
		if got := Place(tt.origin); got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.origin, got, tt.want)
		}
	}
}
