package shells

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func framed(bodies ...string) string {
	var b strings.Builder
	for _, body := range bodies {
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	return b.String()
}

// TestPassInitialize: the one number is gone, everything else comes through.
func TestPassInitialize(t *testing.T) {
	const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":4711,"rootUri":"file:///p","x":1.50,"initializationOptions":{"processId":3}}}`
	const without = `{"id":1,"jsonrpc":"2.0","method":"initialize","params":{"initializationOptions":{"processId":3},"processId":null,"rootUri":"file:///p","x":1.50}}`
	long := `{"method":"textDocument/didOpen","params":"` + strings.Repeat("é", 100_000) + `"}`
	for _, c := range []struct{ name, in, out, err string }{
		{"nothing", "", "", ""},
		{"initialize", framed(initialize), framed(without), ""},
		{"what follows", framed(initialize, initialize, long), framed(without, initialize, long), ""},
		{"what follows is not read", framed(initialize) + "no message", framed(without) + "no message", ""},
		{"one before", framed(`{"method":"x"}`, initialize), framed(`{"method":"x"}`, without), ""},
		{"no parameters", framed(`{"method":"initialize"}`), framed(`{"method":"initialize"}`), ""},
		{"parameters that are no table", framed(`{"method":"initialize","params":[1]}`), framed(`{"method":"initialize","params":[1]}`), ""},
		{"no object", framed(`[{"method":"initialize"}]`), framed(`[{"method":"initialize"}]`), ""},
		{"no process", framed(`{"method":"initialize","params":{}}`), framed(`{"method":"initialize","params":{"processId":null}}`), ""},
		{"other headers", "content-type: a; charset=utf8\r\nCONTENT-LENGTH:  2\r\n\r\n{}", framed("{}"), ""},
		{"no length", "Content-Type: x\r\n\r\n{}", "", "without a Content-Length"},
		{"a wrong length", "Content-Length: -1\r\n\r\n{}", "", "Content-Length: -1"},
		{"a huge length", "Content-Length: 99999999999\r\n\r\n{}", "", "Content-Length: 99999999999"},
		{"a header without end", strings.Repeat("x", maxHeader+1), "", "header of a message"},
		{"an end in the header", "Content-Length: 2\r\n", "", "unexpected EOF"},
		{"an end in the body", "Content-Length: 3\r\n\r\n{}", "", "unexpected EOF"},
	} {
		for how, in := range map[string]io.Reader{"whole": strings.NewReader(c.in), "in pieces": iotest.OneByteReader(strings.NewReader(c.in))} {
			var out bytes.Buffer
			err := passInitialize(&out, in)
			if out.String() != c.out {
				t.Errorf("%s, %s: %.300q, want %.300q", c.name, how, out.String(), c.out)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s, %s: error %v, want %q", c.name, how, err, c.err)
			}
		}
	}
}

// FuzzInitialize: whatever an editor sends, what comes through is the same
// message but for the one number.
func FuzzInitialize(f *testing.F) {
	f.Add([]byte(`{"method":"initialize","params":{"processId":1}}`))
	f.Add([]byte(`{"method":"initialize","method":"x","params":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, found := withoutProcess(bytes.Clone(body))
		if !found && !bytes.Equal(got, body) {
			t.Fatalf("%q became %q", body, got)
		}
		var before, after map[string]any
		if !found || json.Unmarshal(body, &before) != nil {
			return
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		if params, ok := after["params"].(map[string]any); ok && params["processId"] != nil {
			t.Fatalf("%q became %q", body, got)
		}
	})
}

func TestScriptOf(t *testing.T) {
	for _, c := range []struct{ args, script string }{
		{"", ""}, {"-c x", ""}, {"-lc x", ""}, {"-e -c x", ""}, {"-s a", ""}, {"file", "file"}, {"-e file a", "file"},
		{"-o errexit file", "file"}, {"-eo pipefail file", "file"}, {"+x file", "file"}, {"-- file", "file"}, {"- file", "file"},
		{"--", ""}, {"-o", ""}, {"--login file", "file"},
	} {
		if got := scriptOf(strings.Fields(c.args)); got != c.script {
			t.Errorf("sh %s: %q, want %q", c.args, got, c.script)
		}
	}
}
