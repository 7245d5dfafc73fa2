package test

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, list string
		want       []string
		fails      bool
	}{
		{name: "empty", list: ""},
		{name: "comment", list: "# nothing\n\n"},
		{name: "row", list: "needs x: # y\n", want: []string{"needs x:"}},
		{name: "no why", list: "needs x:\n", fails: true},
		{name: "empty why", list: "needs x: # \n", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.list)
			if (err != nil) != tt.fails || !slices.Equal(got, tt.want) {
				t.Errorf("parse(%q) = %q, %v; want %q, error %v", tt.list, got, err, tt.want, tt.fails)
			}
		})
	}
	if _, err := parse(allowed); err != nil {
		t.Error(err)
	}
}
