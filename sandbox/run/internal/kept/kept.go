// Package kept writes down how a sandbox was started, so that the same call can be
// answered by the same Program as long as nothing that it was decided from has
// changed. Package child reads it, before the Go runtime starts, and so in bare
// words: what stands where is said here.
//
// A file holds words of 64 bits in the machine's order, the fields of the header
// first (At*); offsets are in bytes from its start. The texts and checks that the
// header points to come next, up to AtMeta bytes; then the Program's block, then the
// Plan as JSON, for whoever has to go on with such a sandbox.
package kept

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// Magic begins every file: "sbxstart" and the version of the form, which changes
// with it. Which sbx wrote it is one of the checks.
const Magic = uint64('s') | 'b'<<8 | 'x'<<16 | 's'<<24 | 't'<<32 | 'a'<<40 | 'r'<<48 | '2'<<56

// The words of the header.
const (
	AtMagic   = iota
	AtSum     // Sum of all that follows, up to AtMeta
	AtWhole   // Sum of the Program's block
	AtMeta    // bytes of all but the Program and the Plan
	AtSize    // bytes of all
	AtArgc    // the command line: how many words, and where they are, with a NUL after each
	AtArgv    //
	AtEnvc    // the environment
	AtEnv     //
	AtLoose   // 1: the values of the Loose variables don't count
	AtChecks  // how many checks, and where they are
	AtCheck   //
	AtPipes   // where the ten descriptors are that the Program knows, words
	AtProgram // the Program's block from its operation number Skipped on: where, how many bytes
	AtLength  //
	AtPlan    // where the Plan is
	AtClaim   // path of the workspace that is to be locked, 0 for none
	AtAlone   // 1: exclusively
	AtHelpers // two command lines, for each how many words and where, as AtArgc: see Helpers
	_
	_
	_
	AtTree // path of the tree that is to be looked at afterwards, 0 for none
	HeadWords
)

// Skipped is how many operations at the Program's beginning are not kept: those of
// the Prelude, which the child has when the file is read.
const Skipped = 5

// MostMeta is how large AtMeta may be.
const MostMeta = 48 << 10

// MostWords is how many words a helper's command line may have.
const MostWords = 64

// The words of a check. The first is its seen.Kind, with its Bits from bit 8 on, and
// of a Call, from bit 16 on, which argument is a buffer, from 1.
const (
	CheckKind = iota
	CheckAt   // the path, or the bytes that a call or a file gives
	CheckLen  // of the bytes
	CheckA    // Stat: errno; Text: where its path is; Call: its number; Stream: the descriptor
	CheckB    // Stat: mode, owner above it; Call: arguments, four; Stream: type
	CheckC    // Stat: group; Stream: device
	CheckD    // Stat: dev
	CheckE    // Stat: ino
	CheckF    // Stat: links; Call: what it returns
	CheckG    // Stat: size
	CheckH    // Stat: modified
	CheckI    // Stat: changed
	CheckWords
)

// Loose are variables that shells change with each command, each up to its "=".
// Where the command is not given them, what they hold does not count.
const Loose = "_=\x00SHLVL=\x00OLDPWD=\x00"

// Start is what is written down.
type Start struct {
	Argv, Env []string
	Passed    []string // the command's environment
	Checks    []seen.Check
	Pipes     [10]int
	Claim     string
	Alone     bool
	Tree      string
	// Helpers are the programs that map a range of ids, with their arguments; in the
	// place of the process's number stands an empty one. Empty for none.
	Helpers [2][]string
	Program []byte // from operation number Skipped on
	Plan    []byte
}

// Name is the file's name in the directory of starts.
// types are the file types of the standard descriptors (inode(7), S_IFMT).
func Name(argv []string, cwd string, types [3]uint32) string {
	h := FNVBasis
	for _, word := range argv {
		h = FNV(FNVString(h, word), 0)
	}
	h = FNVString(h, cwd)
	for _, t := range types {
		h = FNV(h, byte(t>>12))
	}
	return fmt.Sprintf("%016x", h)
}

// FNVBasis begins a hash (FNV-1a of 64 bits), which only chooses a name: what is in
// the file is compared whole.
const FNVBasis = uint64(14695981039346656037)

// FNV adds a byte to a hash.
func FNV(h uint64, b byte) uint64 { return (h ^ uint64(b)) * 1099511628211 }

// FNVString adds the bytes of a string.
func FNVString(h uint64, s string) uint64 {
	for i := 0; i < len(s); i++ {
		h = FNV(h, s[i])
	}
	return h
}

// Sum is a checksum: a file that was damaged, say since the host lost power, may look
// as before in all that is compared, and have half a Program.
func Sum(words []uint64) uint64 {
	h := FNVBasis
	for _, w := range words {
		h = bits.RotateLeft64((h^w)*1099511628211, 29)
	}
	return h
}

// sum is that of bytes, of which there are whole words.
func sum(b []byte) uint64 {
	words := make([]uint64, len(b)/8)
	for i := range words {
		words[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return Sum(words)
}

// Dir is the directory of starts in sbx's runtime directory.
func Dir(base string) string { return filepath.Join(base, "starts") }

// file is one that is being put together.
type file struct {
	head  [HeadWords]uint64
	words []uint64 // of checks
	text  []byte
}

// add appends b and returns where it is in text.
func (f *file) add(b string) uint64 {
	at := uint64(len(f.text))
	f.text = append(f.text, b...)
	return at
}

func (f *file) cstring(s string) uint64 {
	at := f.add(s)
	f.text = append(f.text, 0)
	return at
}

// list adds strings and returns where the first is.
func (f *file) list(list []string) uint64 {
	at := uint64(len(f.text))
	for _, s := range list {
		f.cstring(s)
	}
	return at
}

func (f *file) check(c *seen.Check) {
	var w [CheckWords]uint64
	w[CheckKind] = uint64(c.Kind) | uint64(c.Bits)<<8 | uint64(c.Call.Buffer)<<16
	i := &c.Want
	switch c.Kind {
	case seen.Text:
		w[CheckA] = f.cstring(c.Path)
		w[CheckAt], w[CheckLen] = f.add(c.Text), uint64(len(c.Text))
	case seen.Call:
		w[CheckAt], w[CheckLen] = f.add(c.Text), uint64(len(c.Text))
		w[CheckA], w[CheckF] = uint64(c.Call.Nr), uint64(c.Call.Answer)
		for j, v := range c.Call.Args {
			w[CheckB+j] = uint64(v)
		}
	case seen.Stream:
		w[CheckA], w[CheckB], w[CheckC] = uint64(c.FD), uint64(i.Mode), i.Dev
	default:
		w[CheckAt] = f.cstring(c.Path)
		w[CheckA], w[CheckB], w[CheckC] = uint64(i.Errno), uint64(i.Mode)|uint64(i.UID)<<32, uint64(i.GID)
		w[CheckD], w[CheckE], w[CheckF], w[CheckG] = i.Dev, i.Ino, i.Links, i.Size
		w[CheckH], w[CheckI] = uint64(i.ModifiedNs), uint64(i.ChangedNs)
	}
	f.words = append(f.words, w[:]...)
}

// loose says whether the command was given none of the Loose variables.
func (s *Start) loose() bool {
	for _, kv := range s.Passed {
		for name := range strings.SplitSeq(strings.TrimSuffix(Loose, "\x00"), "\x00") {
			if strings.HasPrefix(kv, name) {
				return false
			}
		}
	}
	return true
}

// Encode is the file, or an error if it can't be one.
func (s *Start) Encode() ([]byte, error) {
	f := &file{}
	h := &f.head
	h[AtMagic] = Magic
	h[AtArgc], h[AtArgv] = uint64(len(s.Argv)), f.list(s.Argv)
	h[AtEnvc], h[AtEnv] = uint64(len(s.Env)), f.list(s.Env)
	if s.loose() {
		h[AtLoose] = 1
	}
	lists := []int{AtArgv, AtEnv}
	for i, words := range s.Helpers {
		if len(words) > MostWords {
			return nil, fmt.Errorf("%s has %d arguments, more than %d", words[0], len(words), MostWords)
		}
		h[AtHelpers+2*i], h[AtHelpers+2*i+1] = uint64(len(words)), f.list(words)
		lists = append(lists, AtHelpers+2*i+1)
	}
	for i := range s.Checks {
		f.check(&s.Checks[i])
	}
	for _, s := range []string{s.Claim, s.Tree} {
		if strings.IndexByte(s, 0) >= 0 {
			return nil, fmt.Errorf("%q holds a NUL byte", s)
		}
	}
	paths := map[int]string{AtClaim: s.Claim, AtTree: s.Tree}
	for _, at := range []int{AtClaim, AtTree} {
		if paths[at] != "" {
			h[at] = f.cstring(paths[at])
		}
	}
	if s.Alone {
		h[AtAlone] = 1
	}
	return f.lay(s, lists, paths)
}

// lay puts the parts one after the other.
func (f *file) lay(s *Start, lists []int, paths map[int]string) ([]byte, error) {
	h := &f.head
	pipes := 8 * uint64(HeadWords)
	checks := pipes + 8*uint64(len(s.Pipes))
	text := checks + 8*uint64(len(f.words))
	for _, at := range lists {
		h[at] += text
	}
	for at, path := range paths {
		if path != "" {
			h[at] += text
		}
	}
	for i := 0; i < len(f.words); i += CheckWords {
		w := f.words[i:]
		w[CheckAt] += text
		if w[CheckKind]&0xff == uint64(seen.Text) {
			w[CheckA] += text
		}
	}
	meta := (text + uint64(len(f.text)) + 8) &^ 7 // its last byte is a NUL, which ends whatever text
	if meta > MostMeta {
		return nil, fmt.Errorf("what is compared takes %d bytes, more than %d", meta, MostMeta)
	}
	prog := append(slices.Clip(s.Program), make([]byte, -len(s.Program)&7)...)
	h[AtWhole] = sum(prog)
	h[AtMeta], h[AtPipes] = meta, pipes
	h[AtChecks], h[AtCheck] = uint64(len(f.words)/CheckWords), checks
	h[AtProgram], h[AtLength] = meta, uint64(len(prog))
	h[AtPlan] = meta + uint64(len(prog))
	h[AtSize] = h[AtPlan] + uint64(len(s.Plan))
	out := make([]byte, 0, h[AtSize])
	for _, w := range h {
		out = binary.NativeEndian.AppendUint64(out, w)
	}
	for _, fd := range s.Pipes {
		out = binary.NativeEndian.AppendUint64(out, uint64(fd))
	}
	for _, w := range f.words {
		out = binary.NativeEndian.AppendUint64(out, w)
	}
	out = append(out, f.text...)
	out = append(out, make([]byte, meta-uint64(len(out)))...)
	binary.NativeEndian.PutUint64(out[8*AtSum:], sum(out[8*(AtSum+1):]))
	out = append(out, prog...)
	return append(out, s.Plan...), nil
}
