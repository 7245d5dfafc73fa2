package cli

import "testing"

// A template's own newlines and tabs are kept, those of a field are not: a process
// inside chooses its name.
func TestExecuteLines(t *testing.T) {
	pieces, err := ParseTemplate(`{{.PID}}\t{{.Name}}\n{{json .Name}} {{.}}`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Execute(pieces, map[string]any{"pid": "7", "name": "x\n1\troot\x1b"})
	want := "7\tx\\n1\\troot?\n" + `"x\n1\troot\u001b" {"name":"x\n1\troot\u001b","pid":"7"}`
	if err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
