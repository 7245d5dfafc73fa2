package editors

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client is the editor's side of the Language Server Protocol, as far as the
// tests need it.
type client struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	got    chan message
	id     int
	stderr *strings.Builder
}

type message struct {
	ID     json.RawMessage `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

// patience is how long a server may take for an answer.
const patience = 60 * time.Second

func start(t *testing.T, cmd *exec.Cmd) *client {
	t.Helper()
	c := &client{t: t, cmd: cmd, got: make(chan message, 1000), stderr: &strings.Builder{}}
	cmd.Stderr = c.stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		c.in, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go c.read(out)
	return c
}

// read takes messages until the server's end, which closes got.
func (c *client) read(out io.Reader) {
	defer close(c.got)
	in := bufio.NewReader(out)
	for {
		length := 0
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimSpace(line)
			if line == "" {
				break
			}
			if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Length") {
				length, _ = strconv.Atoi(strings.TrimSpace(value))
			}
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(body, &m); err != nil {
			c.t.Errorf("the server says %q: %v", body, err)
			return
		}
		c.got <- m
	}
}

func (c *client) send(m map[string]any) {
	c.t.Helper()
	m["jsonrpc"] = "2.0"
	body, err := json.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c.in, "Content-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		c.t.Logf("sending %v: %v", m["method"], err)
	}
}

func (c *client) notify(method string, params any) {
	c.send(map[string]any{"method": method, "params": params})
}

// call sends a request and returns its answer, nil when the server has ended.
func (c *client) call(method string, params any) json.RawMessage {
	c.t.Helper()
	c.id++
	c.send(map[string]any{"id": c.id, "method": method, "params": params})
	m, ok := c.wait(func(m message) bool { return m.Method == "" && string(m.ID) == strconv.Itoa(c.id) })
	switch {
	case !ok:
		return nil
	case m.Error != nil:
		c.t.Errorf("%s: %s", method, m.Error)
	}
	return m.Result
}

// wait returns the first message that is wanted. What the server asks of the
// editor on the way is answered with nothing. false: the server has ended.
func (c *client) wait(wanted func(message) bool) (message, bool) {
	c.t.Helper()
	late := time.After(patience)
	for {
		select {
		case m, ok := <-c.got:
			if !ok {
				return message{}, false
			}
			if wanted(m) {
				return m, true
			}
			if m.Method != "" && m.ID != nil {
				var nothing any
				if m.Method == "workspace/configuration" {
					nothing = []any{nil}
				}
				c.send(map[string]any{"id": m.ID, "result": nothing})
			}
		case <-late:
			_ = c.cmd.Process.Kill()
			c.t.Fatalf("the server did not answer; it said on stderr:\n%s", c.stderr)
		}
	}
}

// initialize is the request that editors begin with: their process is pid.
func (c *client) initialize(dir string) json.RawMessage {
	return c.call("initialize", map[string]any{
		"processId": os.Getpid(), "rootUri": "file://" + dir, "rootPath": dir,
		"workspaceFolders": []any{map[string]any{"uri": "file://" + dir, "name": "project"}},
		"capabilities": map[string]any{"textDocument": map[string]any{
			"publishDiagnostics": map[string]any{}, "definition": map[string]any{}, "hover": map[string]any{}}},
	})
}

// quit asks the server to end, as an editor does, and returns its exit status.
func (c *client) quit() int {
	c.t.Helper()
	c.call("shutdown", nil)
	c.notify("exit", nil)
	c.in.Close()
	return c.end()
}

// end waits until the server's process is gone.
func (c *client) end() int {
	c.t.Helper()
	c.wait(func(message) bool { return false })
	_ = c.cmd.Wait()
	return c.cmd.ProcessState.ExitCode()
}
