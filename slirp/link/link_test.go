package link

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// said is a message of the kernel's, filled up to four bytes.
func said(kind uint16, seq uint32, data []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(binary.NativeEndian.AppendUint32(b, 0), data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func errno(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-n)) }

func TestAnswers(t *testing.T) {
	link := said(unix.RTM_NEWLINK, 7, []byte("a link"))
	for _, tt := range []struct {
		name   string
		b      []byte
		answer string
		over   bool
		err    error
	}{
		{name: "done", b: said(unix.NLMSG_ERROR, 7, errno(0)), over: true},
		{name: "refused", b: said(unix.NLMSG_ERROR, 7, errno(int32(unix.EPERM))), err: unix.EPERM},
		{name: "an answer, and then done", b: append(link, said(unix.NLMSG_ERROR, 7, errno(0))...), answer: "a link", over: true},
		{name: "an answer, of which more follows", b: link, answer: "a link"},
		{name: "to another message", b: append(said(unix.NLMSG_ERROR, 6, errno(int32(unix.EPERM))), link...), answer: "a link"},
		{name: "nothing"},
	} {
		answer, over, err := answers(tt.b, 7)
		if string(answer) != tt.answer || over != tt.over || !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) {
			t.Errorf("%s: %q, %t, %v", tt.name, answer, over, err)
		}
	}
	if _, _, err := answers(link[:20], 7); err == nil {
		t.Error("a part of a message is one")
	}
}

// FuzzAnswers: whatever comes, it ends, and an answer is no longer than what came.
func FuzzAnswers(f *testing.F) {
	f.Add(said(unix.NLMSG_ERROR, 7, errno(0)), uint32(7))
	f.Add(append(said(unix.RTM_NEWLINK, 7, make([]byte, 50)), said(unix.NLMSG_ERROR, 7, errno(22))...), uint32(7))
	f.Fuzz(func(t *testing.T, b []byte, seq uint32) {
		answer, over, err := answers(b, seq)
		if len(answer) > len(b) || over && err != nil {
			t.Errorf("%d bytes of %d, %t, %v", len(answer), len(b), over, err)
		}
	})
}
