package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
)

// A journal is lines of JSON: what the directory is called in which everything is
// made; then, once all is made and on disk, each operation; "commit"; and "done"
// once all are carried out and on disk. A line that was not written to its end is
// none.
//
//	{"version":1,"stage":".sbx-apply-k3jx9a2m"}
//	{"op":{"kind":"swap","path":"c3JjL2E=","n":0,"new":{…},"old":{…}}}
//	{"mark":"commit"}
//	{"mark":"done"}
type journalLine struct {
	Version int    `json:"version,omitempty"`
	Stage   string `json:"stage,omitempty"`
	// Top says that nothing came or went at the top of the tree since the sandbox
	// started.
	Top  bool   `json:"top,omitempty"`
	Op   *op    `json:"op,omitempty"`
	Mark string `json:"mark,omitempty"`
}

const (
	journalVersion = 1
	markCommit     = "commit"
	markDone       = "done"
	stagePrefix    = ".sbx-apply-"
	savedPrefix    = ".sbx-saved-"
)

// opKind is how a change is carried out.
type opKind string

// The operations.
const (
	put  opKind = "put"  // what was made gets its place, where nothing is
	swap opKind = "swap" // it is exchanged with what is there
	take opKind = "take" // what is there is taken out
	meta opKind = "meta" // mode, time and attributes are set
)

// op is one operation. By what it notes it can be told later whether it was
// carried out, and undone.
type op struct {
	Kind opKind `json:"kind"`
	Path []byte `json:"path"`
	N    int    `json:"n"`             // the name in the stage
	New  *mark  `json:"new,omitempty"` // put and swap: what was made
	Old  *mark  `json:"old,omitempty"` // swap, take and meta: what was there
	Set  *attrs `json:"set,omitempty"` // meta
	Was  *attrs `json:"was,omitempty"`
	// Quiet says that nothing came or went in its directory since the sandbox
	// started.
	Quiet bool `json:"quiet,omitempty"`

	item   int // whose it is
	before beneath.Info
	tree   []Item // of a directory that goes: what is in it
}

// mark is what an inode is recognised by.
type mark struct {
	Ino   uint64       `json:"ino"`
	Type  uint32       `json:"type"`
	Size  int64        `json:"size"`
	Mtime beneath.Time `json:"mtime"`
}

func markOf(i *beneath.Info) *mark {
	m := &mark{Ino: i.Ino, Type: i.Type}
	if !i.IsDir() { // a directory's change with what is in it
		m.Size, m.Mtime = i.Size, i.Mtime
	}
	return m
}

// is reports whether i is the marked inode; whole, that it was not written since.
// Either may be nil, for none.
func (m *mark) is(i *beneath.Info) (it, whole bool) {
	it = m != nil && i != nil && i.Ino == m.Ino && i.Type == m.Type
	return it, it && (i.IsDir() || i.Size == m.Size && i.Mtime == m.Mtime)
}

// attrs are what a file has beside its content.
type attrs struct {
	Mode   *uint32           `json:"mode,omitempty"`
	Mtime  *beneath.Time     `json:"mtime,omitempty"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"` // nil for one that is not there
}

// journal is one that is being written.
type journal struct {
	f    *os.File
	file string
}

// begin makes a journal. The error is fs.ErrExist where there is one.
func begin(file string, first journalLine) (*journal, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{f, file}
	err = j.write(first)
	if err == nil {
		err = syncDir(filepath.Dir(file))
	}
	if err != nil {
		j.remove()
		return nil, err
	}
	return j, nil
}

// write appends lines and waits until they are on disk.
func (j *journal) write(lines ...journalLine) error {
	var b bytes.Buffer
	for _, l := range lines {
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		b.Write(text)
		b.WriteByte('\n')
	}
	if _, err := j.f.Write(b.Bytes()); err != nil {
		return err
	}
	return j.f.Sync()
}

func (j *journal) close() {
	if j != nil && j.f != nil {
		j.f.Close()
		j.f = nil
	}
}

func (j *journal) remove() error {
	j.close()
	return remove(j.file)
}

// left is what a journal says of an apply that did not end.
type left struct {
	stage     string
	quiet     bool
	ops       []*op
	committed bool
	done      bool
}

// maxJournal bounds what is read, in bytes.
const maxJournal = 256 << 20

// parseJournal reads a journal. What was being written when its writer died is
// left out; anything else that is wrong is an error.
func parseJournal(text []byte) (*left, error) {
	l := &left{}
	n := 0
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			break
		}
		n++
		var line journalLine
		dec := json.NewDecoder(bytes.NewReader(text[:end]))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if err := l.add(n, &line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		text = text[end+1:]
	}
	if !l.committed {
		l.ops = nil // what is listed only in part was not begun
	}
	return l, nil
}

func (l *left) add(n int, line *journalLine) error {
	switch {
	case n == 1:
		if line.Version != journalVersion {
			return fmt.Errorf("version %d, this sbx knows %d", line.Version, journalVersion)
		}
		if line.Stage != "" && (!strings.HasPrefix(line.Stage, stagePrefix) || strings.Contains(line.Stage, "/")) {
			return fmt.Errorf("the directory %q is not apply's", line.Stage)
		}
		l.stage, l.quiet = line.Stage, line.Top
		return nil
	case line.Version != 0 || line.Stage != "" || line.Top:
		return errors.New("a second beginning")
	case line.Op != nil && line.Mark == "" && !l.committed:
		if err := line.Op.validate(); err != nil {
			return err
		}
		l.ops = append(l.ops, line.Op)
		return nil
	case line.Op == nil && line.Mark == markCommit && !l.committed:
		l.committed = true
		return nil
	case line.Op == nil && line.Mark == markDone && l.committed && !l.done:
		l.done = true
		return nil
	}
	return errors.New("nothing that can stand here")
}

// validate makes sure that an operation can be undone as it says.
func (o *op) validate() error {
	p := string(o.Path)
	if o.Kind != meta || p != "" { // meta may be of the top itself
		for name := range strings.SplitSeq(p, "/") {
			if name == "" || name == "." || name == ".." || strings.IndexByte(name, 0) >= 0 {
				return fmt.Errorf("the path %q", p)
			}
		}
	}
	ok := o.N >= 0
	switch o.Kind {
	case put:
		ok = ok && o.New != nil && o.Old == nil && o.Set == nil && o.Was == nil
	case swap:
		ok = ok && o.New != nil && o.Old != nil && o.Set == nil && o.Was == nil
	case take:
		ok = ok && o.New == nil && o.Old != nil && o.Set == nil && o.Was == nil
	case meta:
		ok = ok && o.New == nil && o.Old != nil && o.Set != nil && o.Was != nil
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("the operation %q does not have what belongs to it", o.Kind)
	}
	return nil
}
