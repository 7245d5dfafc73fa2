package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/resolve"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

// Problem is one thing that is wrong, for --json-errors and for people.
type Problem struct {
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

// Failure is what --json-errors prints.
type Failure struct {
	Schema int       `json:"schema"`
	Code   int       `json:"code"`
	Errors []Problem `json:"errors"`
}

// coder is an error that knows its exit status.
type coder interface{ Code() int }

// Report prints err and gives the exit status for it.
func (inv *Invocation) Report(err error) int {
	code := inv.ExitCode(err)
	list := inv.Problems(err)
	if inv.JSONErrs {
		text, _ := json.Marshal(Failure{Schema: 1, Code: code, Errors: list}) // plain data
		fmt.Fprintf(inv.Err, "%s\n", screen.Escape(text))
		return code
	}
	for _, p := range list {
		fmt.Fprintf(inv.Err, "%s %s\n", screen.Paint(inv.Err, screen.Red, "sbx:"), p)
	}
	if page := inv.Page(err); page != "" && screen.IsTerminal(inv.Err) {
		fmt.Fprintf(inv.Err, "%s more on this: sbx help errors %s\n", screen.Paint(inv.Err, screen.Bold, "sbx:"), page)
	}
	return code
}

// Page is the section of docs/ERRORS.md about an error of this kind, "" for none.
func (inv *Invocation) Page(err error) string {
	var (
		profile  profiles.Errors
		trust    *profiles.UntrustedError
		host     *resolve.Error
		step     *run.StepError
		group    *run.GroupError
		usage    usageError
		keyed    keyedUsage
		notFound *profiles.NotFoundError
	)
	switch code := inv.ExitCode(err); {
	case errors.As(err, &profile), errors.As(err, &notFound):
		return "profile"
	case errors.As(err, &trust):
		return "trust"
	case code == 126 || code == 127:
		return "command"
	case errors.As(err, &step):
		return "step"
	case errors.As(err, &group):
		return "limits"
	case errors.As(err, &host):
		if strings.HasPrefix(host.Key, "network") {
			return "network"
		}
		return "host"
	case errors.As(err, &usage), errors.As(err, &keyed):
		return "usage"
	}
	return ""
}

// ExitCode is the status to leave with after err.
func (inv *Invocation) ExitCode(err error) int {
	var c coder
	var u usageError
	var k keyedUsage
	switch {
	case errors.As(err, &c):
		return c.Code()
	case (errors.As(err, &u) || errors.As(err, &k)) && (inv.Verb == nil || !inv.Verb.Runs):
		return exitUsage
	}
	return ExitSbx
}

// Problems takes err apart into the single things that are wrong.
func (inv *Invocation) Problems(err error) []Problem {
	switch e := err.(type) {
	case profiles.Errors:
		var list []Problem
		for _, one := range e {
			p := Place(one.File)
			p.Line, p.Col, p.Key, p.Reason = one.Line, one.Col, one.Key, one.Msg
			list = append(list, p)
		}
		return list
	case interface{ Unwrap() []error }:
		var list []Problem
		for _, one := range e.Unwrap() {
			list = append(list, inv.Problems(one)...)
		}
		return list
	case *resolve.Error:
		p := inv.At(e.Key)
		p.Reason, p.Fix, p.Errno = e.Msg, e.Hint, errnoName(e.Err)
		if e.Err != nil {
			p.Reason += ": " + cause(e).Error()
		}
		return []Problem{p}
	case *run.StepError:
		p := inv.At(e.Step.From)
		p.Step, p.Path, p.Errno, p.Fix = e.Step.Doc(), e.Step.Path, unix.ErrnoName(e.Errno), e.Hint()
		p.Reason = e.Errno.Error()
		return []Problem{p}
	case *run.GroupError:
		p := inv.At(e.Key)
		p.Step, p.Reason, p.Fix, p.Errno = "make the sandbox's control group", e.Err.Error(), e.Hint(), errnoName(e.Err)
		return []Problem{p}
	case *profiles.UntrustedError:
		return untrusted(e)
	case keyedUsage:
		return []Problem{{Flag: e.flag, Reason: e.err.Error(), Errno: errnoName(e.err)}}
	}
	return []Problem{{Reason: err.Error(), Errno: errnoName(err)}}
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
func untrusted(e *profiles.UntrustedError) []Problem {
	var list []Problem
	for _, g := range e.Grants {
		p := Place(g.Origin)
		if p.File == "" {
			p.File = e.Path
		}
		p.Key, p.Reason = g.Key, g.Text
		list = append(list, p)
	}
	return append(list, Problem{File: e.Path, Reason: "this profile lies in a project, or others can write it, and asks for more than your own grants", Fix: "read it, and if you agree run: " + e.Command})
}

// At is a problem about one of the profile's keys, with its place.
func (inv *Invocation) At(key string) Problem {
	if key == "" || key == "process.command" && inv.Given {
		return Problem{}
	}
	p := Place(Origin(inv.Profile, key))
	if p.Flag == "" {
		p.Key = key
	}
	return p
}

// Origin says where the profile sets key, or a key around it; "" = nowhere. A
// mount's target may stand in it without quotes.
func Origin(p *profiles.Profile, key string) string {
	if p == nil || key == "" {
		return ""
	}
	if target, ok := strings.CutPrefix(key, "mounts./"); ok {
		key = "mounts." + strconv.Quote("/"+target)
	}
	return p.Origin(key)
}

// Place reads file:line:col, or a flag.
func Place(origin string) (p Problem) {
	if strings.HasPrefix(origin, "--") {
		p.Flag = origin
		return p
	}
	p.File = origin
	rest, col, ok := CutLast(origin)
	file, line, ok2 := CutLast(rest)
	l, err := strconv.Atoi(line)
	c, err2 := strconv.Atoi(col)
	if ok && ok2 && err == nil && err2 == nil {
		p.File, p.Line, p.Col = file, l, c
	}
	return p
}

// CutLast cuts s at its last colon.
func CutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// String is the problem as one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(screen.Near(p.File))
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
	return screen.Printable(strings.ReplaceAll(b.String(), "\n", "; "))
}
