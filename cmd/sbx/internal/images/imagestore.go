package images

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// storeError is what sbx-store could not do.
type storeError struct{ text, hint string }

func (e *storeError) Error() string {
	if e.hint == "" {
		return e.text
	}
	return e.text + "; " + e.hint
}

// askStore has sbx-store do what is asked for, and prints its notes and, on a
// terminal, its progress on standard error.
func askStore(inv *cli.Invocation, req image.Request) (*image.Message, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	path, err := host.Plumbing(exe, "sbx-store")
	if err != nil {
		return nil, fmt.Errorf("images need sbx-store: %w", err)
	}
	req.Protocol, req.Dir = image.Protocol, Dir(inv)
	if req.Dir == "" {
		return nil, errors.New("there is no home directory in which to keep images; set HOME or XDG_DATA_HOME")
	}
	req.Overlays = overlays.In(filepath.Dir(req.Dir))
	text, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(text)), inv.Err
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting sbx-store: %w", err)
	}
	m, err := listen(inv, out)
	if werr := cmd.Wait(); err == nil && m == nil {
		err = fmt.Errorf("sbx-store ended without an answer: %w", werr)
	}
	return m, err
}

// listen takes sbx-store's messages up to the last.
func listen(inv *cli.Invocation, out io.Reader) (last *image.Message, err error) {
	show := &progress{w: inv.Err, on: !inv.Silent && screen.IsTerminal(inv.Err)}
	defer show.clear()
	r := bufio.NewReader(out)
	dec := json.NewDecoder(r)
	for {
		var m image.Message
		if derr := dec.Decode(&m); derr != nil {
			if errors.Is(derr, io.EOF) {
				derr = nil
			}
			return last, errors.Join(err, derr)
		}
		switch m.Kind {
		case "progress":
			show.line(m)
		case "info":
			if show.clear(); !inv.Silent {
				inv.Lately("%s", m.Text)
			}
		case "note":
			show.clear()
			inv.Warn("%s", m.Text)
		case "error":
			err = &storeError{m.Text, m.Hint}
		case "result":
			last = &m
		}
	}
}

// progress is one line that is written over and over.
type progress struct {
	w     io.Writer
	on    bool
	shown bool
}

func (p *progress) line(m image.Message) {
	if !p.on {
		return
	}
	p.shown = true
	text := fmt.Sprintf("%s  %s", m.Text, screen.SizeText(m.Done))
	if m.Total > 0 {
		text = fmt.Sprintf("%s  %3d%%  %s of %s", m.Text, min(100, m.Done*100/m.Total), screen.SizeText(m.Done), screen.SizeText(m.Total))
	}
	fmt.Fprintf(p.w, "\r%s\x1b[K", screen.Printable(text))
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
