package sandboxes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// RefusedCalls are the system calls that were refused to a sandbox whose plan has
// them traced, as JSON; none where it was killed before it could say.
func RefusedCalls(r *state.Record) ([]byte, error) {
	if !r.Alive() {
		text, err := os.ReadFile(filepath.Join(state.Dir(r.ID), state.RefusedFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return text, err
	}
	c, err := Dial(r)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Ask(control.Request{Op: control.Refused}); err != nil {
		return nil, err
	}
	reply, _, err := c.Answer()
	return reply.Refused, Closing(r, err)
}
