package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

// problem is one thing that is wrong, for --json-errors and for people.
type problem struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Col    int    `json:"col,omitempty"`
	Key    string `json:"key,omitempty"`   // the profile's key
	Flag   string `json:"flag,omitempty"`  // of the command line
	Step   string `json:"step,omitempty"`  // what was being done
	Path   string `json:"path,omitempty"`  // what it was done to
	Errno  string `json:"errno,omitempty"` // "ENOENT"
	Reason string `json:"reason"`
	Fix    string `json:"fix,omitempty"`
}

// failure is what --json-errors prints.
type failure struct {
	Schema int       `json:"schema"`
	Code   int       `json:"code"`
	Errors []problem `json:"errors"`
}

// coder is an error that knows its exit status.
type coder interface{ Code() int }

// report prints err and gives the exit status for it.
func (inv *invocation) report(err error) int {
	code := inv.exitCode(err)
	list := inv.problems(err)
	if inv.jsonErrs {
		text, _ := json.Marshal(failure{Schema: 1, Code: code, Errors: list}) // plain data
		fmt.Fprintf(inv.err, "%s\n", escape(text))
		return code
	}
	for _, p := range list {
		fmt.Fprintf(inv.err, "%s %s\n", paint(inv.err, red, "sbx:"), p)
	}
	return code
}

func (inv *invocation) exitCode(err error) int {
	var c coder
	var u usageError
	var k keyedUsage
	switch {
	case errors.As(err, &c):
		return c.Code()
	case (errors.As(err, &u) || errors.As(err, &k)) && (inv.verb == nil || !inv.verb.runs):
		return exitUsage
	}
	return exitSbx
}

// problems takes err apart into the single things that are wrong.
func (inv *invocation) problems(err error) []problem {
	switch e := err.(type) {
	case profiles.Errors:
		var list []problem
		for _, one := range e {
			p := place(one.File)
			p.Line, p.Col, p.Key, p.Reason = one.Line, one.Col, one.Key, one.Msg
			list = append(list, p)
		}
		return list
	case interface{ Unwrap() []error }:
		var list []problem
		for _, one := range e.Unwrap() {
			list = append(list, inv.problems(one)...)
		}
		return list
	case *resolve.Error:
		p := inv.at(e.Key)
		p.Reason, p.Fix, p.Errno = e.Msg, e.Hint, errnoName(e.Err)
		if e.Err != nil {
			p.Reason += ": " + cause(e).Error()
		}
		return []problem{p}
	case *run.StepError:
		p := inv.at(e.Step.From)
		p.Step, p.Path, p.Errno, p.Fix = e.Step.Doc(), e.Step.Path, unix.ErrnoName(e.Errno), e.Hint()
		p.Reason = e.Errno.Error()
		return []problem{p}
	case *profiles.UntrustedError:
		return untrusted(e)
	case keyedUsage:
		return []problem{{Flag: e.flag, Reason: e.err.Error(), Errno: errnoName(e.err)}}
	}
	return []problem{{Reason: err.Error(), Errno: errnoName(err)}}
}

// cause is why e failed, without a path that e's message names already.
func cause(e *resolve.Error) error {
	var path *fs.PathError
	if errors.As(e.Err, &path) && strings.Contains(e.Msg, path.Path) {
		return path.Err
	}
	return e.Err
}

func errnoName(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return ""
}

// untrusted is a refusal: one problem a grant, the way out with the last.
func untrusted(e *profiles.UntrustedError) []problem {
	var list []problem
	for _, g := range e.Grants {
		p := place(g.Origin)
		if p.File == "" {
			p.File = e.Path
		}
		p.Key, p.Reason = g.Key, g.Text
		list = append(list, p)
	}
	return append(list, problem{File: e.Path, Reason: "this profile lies in a project, or others can write it, and asks for more than your own grants", Fix: "read it, and if you agree run: " + e.Command})
}

// at is a problem about one of the profile's keys, with its place.
func (inv *invocation) at(key string) problem {
	if key == "" || key == "process.command" && inv.given {
		return problem{}
	}
	p := place(origin(inv.profile, key))
	if p.Flag == "" {
		p.Key = key
	}
	return p
}

// origin says where the profile sets key, or a key around it; "" = nowhere. A
// mount's target may stand in it without quotes.
func origin(p *profiles.Profile, key string) string {
	if p == nil || key == "" {
		return ""
	}
	if target, ok := strings.CutPrefix(key, "mounts./"); ok {
		key = "mounts." + strconv.Quote("/"+target)
	}
	return p.Origin(key)
}

// place reads file:line:col, or a flag.
func place(origin string) (p problem) {
	if strings.HasPrefix(origin, "--") {
		p.Flag = origin
		return p
	}
	p.File = origin
	rest, col, ok := cutLast(origin)
	file, line, ok2 := cutLast(rest)
	l, err := strconv.Atoi(line)
	c, err2 := strconv.Atoi(col)
	if ok && ok2 && err == nil && err2 == nil {
		p.File, p.Line, p.Col = file, l, c
	}
	return p
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// String is the problem as one line.
func (p problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(near(p.File))
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
		}
		b.WriteString(": ")
	}
	for _, part := range []string{p.Flag, p.Key, p.Step} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	b.WriteString(p.Reason)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return printable(strings.ReplaceAll(b.String(), "\n", "; "))
}

// near is path as seen from the current directory, if it lies below it.
func near(path string) string {
	dir, err := os.Getwd()
	if err != nil || dir == "/" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, dir+"/"); ok {
		return rest
	}
	return path
}

// printable replaces what a terminal would act on: paths and profiles may come
// from somebody else.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unsafe(r) {
			return '?'
		}
		return r
	}, s)
}

// unsafe says whether a terminal acts on r, or shows by it something else than
// what is there: controls, and marks that turn the direction of text around.
func unsafe(r rune) bool {
	return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029
}

// The colours in use; see ECMA-48, 8.3.117.
const (
	bold   = "1"
	red    = "1;31"
	green  = "32"
	yellow = "1;33"
)

// paint colours s if w is a terminal and nobody objects (no-color.org).
func paint(w io.Writer, colour, s string) string {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(w) {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
