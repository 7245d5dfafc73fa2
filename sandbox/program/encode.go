package program

import (
	"encoding/binary"
	"fmt"
)

// The block's layout, in bytes. It must agree with the assembly of
// sandbox/run/internal/child.
const (
	// Header fields.
	HeadAllSignals = 0  // a full signal mask
	HeadOldSignals = 8  // the mask of the starting thread, to be restored
	HeadReport     = 16 // descriptor that failures are written to
	HeadMessage    = 24 // a failure: offset of the operation, then errno, 4 bytes each
	HeadKept       = 32 // errno kept by Search
	HeadStatus     = 40 // a wait status
	HeadSiginfo    = 48 // a siginfo_t of 128 bytes
	headSize       = 176

	// Operation fields.
	opNr       = 0  // int32
	opFlags    = 4  // uint32: Opt in the low byte, then the kinds of the arguments
	opJump     = 8  // int32: offset from the block's start
	opTolerate = 12 // int32
	opArgs     = 16 // six words
	opResult   = 64 // word
	opSize     = 72

	// An argument i is loaded from the block when bit loadShift+i is set, and
	// is an address in it when bit baseShift+i is.
	loadShift = 8
	baseShift = 16
)

func putWord(b []byte, v uint64) { binary.LittleEndian.PutUint64(b, v) }

// Size is the length of the Program's block in bytes.
func (p *Program) Size() int { return headSize + opSize*len(p.Ops) + len(p.Data) }

// Encode lays the Program out as one block for the given slots. The block is
// written to while it runs; results and the header's buffers are left alone.
//
// Precondition: block holds at least Size bytes, zeros or what Encode made for
// the same slots of a Program that this one begins with and that has no data.
func (p *Program) Encode(block []byte, slots Slots) error { return p.EncodeAt(block, 0, slots) }

// EncodeAt is Encode with the first operation in the place of a Program's
// operation number first, and what it needs from there on.
func (p *Program) EncodeAt(block []byte, first int, slots Slots) error {
	base := headSize + opSize*first
	data := base + opSize*len(p.Ops)
	copy(block[data:], p.Data)
	putWord(block[HeadAllSignals:], ^uint64(0))
	putWord(block[HeadReport:], slots[SlotReport])
	for i := range p.Ops {
		if err := p.encodeOp(block[base+opSize*i:], i, uint64(base), uint64(data), slots); err != nil {
			return err
		}
		if p.Ops[i].Nr == OpRelocate {
			shiftTable(block[uint64(data)+p.Ops[i].Args[0]:], int(p.Ops[i].Args[1]), uint64(data))
		}
	}
	return nil
}

func (p *Program) encodeOp(out []byte, index int, base, data uint64, slots Slots) error {
	op := &p.Ops[index]
	flags := uint32(op.Opt)
	for i, v := range op.Args {
		switch op.Kinds[i] {
		case Const:
		case Slot:
			v = slots[v]
		case Addr:
			v += data
			flags |= 1 << (baseShift + i)
		case Head:
			flags |= 1 << (baseShift + i)
		case Word:
			v += data
			flags |= 1 << (loadShift + i)
		case Result:
			if int(v) >= index {
				return fmt.Errorf("operation %d uses the result of operation %d, which runs later", index, v)
			}
			v = base + opSize*v + opResult
			flags |= 1 << (loadShift + i)
		}
		putWord(out[opArgs+8*i:], v)
	}
	binary.LittleEndian.PutUint32(out[opNr:], uint32(op.Nr))
	binary.LittleEndian.PutUint32(out[opFlags:], flags)
	binary.LittleEndian.PutUint32(out[opJump:], uint32(int64(base)+opSize*int64(op.Jump)))
	binary.LittleEndian.PutUint32(out[opTolerate:], uint32(op.Tolerate))
	return nil
}

// shiftTable turns the n data offsets of a table of vector into block offsets,
// to which OpRelocate adds the block's address.
func shiftTable(t []byte, n int, by uint64) {
	for i := range n {
		w := t[8*i:]
		putWord(w, binary.LittleEndian.Uint64(w)+by)
	}
}

// The part of a block in which Programs of further commands are placed, see
// Another: Chunks of ChunkOps operations' length each. At AnotherOp stands the
// jump to the one that is to be run next.
const (
	AnotherOp = (2<<20 - headSize) / opSize
	ChunkOps  = 228
	Chunks    = 127
)

// AnotherAt is the offset of AnotherOp: what a Program of Compile may take.
const AnotherAt = headSize + opSize*AnotherOp

// ChunkOp is the operation that chunk i begins with.
func ChunkOp(i int) int { return AnotherOp + 1 + ChunkOps*i }

// ChunkSize is a chunk's length in bytes.
const ChunkSize = ChunkOps * opSize

// EncodeJump puts the jump to chunk i at AnotherOp.
func EncodeJump(block []byte, i int) {
	jump := int32(OpJump)
	out := block[AnotherAt:]
	binary.LittleEndian.PutUint32(out[opNr:], uint32(jump))
	binary.LittleEndian.PutUint32(out[opFlags:], 0)
	binary.LittleEndian.PutUint32(out[opJump:], uint32(headSize+opSize*ChunkOp(i)))
}

// OpIndex is the index of the operation at a block offset, as a failure
// reports it.
func OpIndex(offset uint32) int { return (int(offset) - headSize) / opSize }

// ResultOffset is where in a block the result of an operation stands.
func ResultOffset(op int) int { return headSize + opSize*op + opResult }

// FirstOp is the offset of the first operation, OpSize an operation's length.
const (
	FirstOp = headSize
	OpSize  = opSize
)
