package engine

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// vnetLen is the size of struct virtio_net_hdr (linux/virtio_net.h), which goes
// before each packet of a device made with IFF_VNET_HDR.
const vnetLen = 10

// Values of that header.
const (
	vnetNeedsChecksum = 1 // flags: the checksum covers the pseudo header only
	vnetTCP4          = 1 // gso_type
	vnetTCP6          = 4
)

// putVNet writes the header of an outgoing packet: who receives it need not
// compute a checksum that the stack left out, and may take a segment of up to
// 64 KiB as it is. The fields are in the machine's byte order, which is little
// endian on every architecture that sbx is built for.
func putVNet(h *[vnetLen]byte, p *stack.PacketBuffer) {
	*h = [vnetLen]byte{}
	g := p.GSOOptions
	if g.Type == stack.GSONone {
		return
	}
	if g.NeedsCsum {
		h[0] = vnetNeedsChecksum
		binary.LittleEndian.PutUint16(h[6:], uint16(len(p.NetworkHeader().Slice()))) // csum_start
		binary.LittleEndian.PutUint16(h[8:], g.CsumOffset)
	}
	if p.Data().Size() <= int(g.MSS) {
		return // one packet after all
	}
	switch g.Type {
	case stack.GSOTCPv4:
		h[1] = vnetTCP4
	case stack.GSOTCPv6:
		h[1] = vnetTCP6
	}
	binary.LittleEndian.PutUint16(h[2:], uint16(p.HeaderSize())) // hdr_len
	binary.LittleEndian.PutUint16(h[4:], g.MSS)                  // gso_size
}
