package nft

import (
	"encoding/binary"
	"slices"
)

// Numbers of linux/netfilter/nfnetlink_log.h.
const (
	logSubsystem          = 4
	logPacket, logConfig  = 0, 1
	bind, copyPacket      = 1, 2
	attrCommand, attrMode = 1, 2
	attrPayload           = 9
	snap                  = 64 // bytes of a packet: its headers
)

// Listen is the messages by which a socket of NETLINK_NETFILTER hears of what is
// told to Group.
func Listen() []byte {
	b := batch{seq: laterSeq}
	b.message(logSubsystem<<8|logConfig, request|ack, 0, Group, attr(attrCommand, []byte{bind}))
	mode := append(binary.BigEndian.AppendUint32(nil, snap), copyPacket, 0)
	b.message(logSubsystem<<8|logConfig, request|ack, 0, Group, attr(attrMode, mode))
	return b.out
}

// Packets are the packets, as far as they were copied, in what such a socket
// hears.
func Packets(messages []byte) (list [][]byte) {
	for kind, body := range cut(messages, 16) {
		if kind != logSubsystem<<8|logPacket || len(body) < 4 {
			continue
		}
		for kind, data := range cut(body[4:], 4) {
			if kind == attrPayload {
				list = append(list, slices.Clone(data))
			}
		}
	}
	return list
}

// Answers says whether the kernel has answered orders, and the first errno other
// than 0 that it did (netlink(7), NLMSG_ERROR).
func Answers(messages []byte) (answered bool, errno uint32) {
	const nlmsgError = 2
	for kind, body := range cut(messages, 16) {
		if kind != nlmsgError || len(body) < 4 {
			continue
		}
		answered = true
		if n := -int32(binary.NativeEndian.Uint32(body)); n != 0 && errno == 0 {
			errno = uint32(n)
		}
	}
	return answered, errno
}

// cut yields what a row of messages (header 16) or attributes (4) has, by kind.
func cut(b []byte, header int) func(yield func(kind int, body []byte) bool) {
	return func(yield func(int, []byte) bool) {
		for len(b) >= header {
			length, kind := int(binary.NativeEndian.Uint16(b)), int(binary.NativeEndian.Uint16(b[2:])&0x3fff)
			if header == 16 { // an answer repeats what it is about: who reads may have room for less
				length, kind = int(min(binary.NativeEndian.Uint32(b), uint32(len(b)))), int(binary.NativeEndian.Uint16(b[4:]))
			}
			if length < header || length > len(b) || !yield(kind, b[header:length]) {
				return
			}
			b = b[min((length+3)&^3, len(b)):]
		}
	}
}
