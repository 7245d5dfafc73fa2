package nft

import (
	"encoding/binary"
	"net/netip"
)

// On a bridge it is for the network's holder to see that its members send from their
// own addresses: with IPV6_FREEBIND (ipv6(7)) anybody sends from any of IPv6. There a
// table has a set for each version of IP, of pairs of a port of the bridge and an
// address.

// Registers of four bytes each that take a pair, NFT_REG32_00 and the next.
const portRegister, addressRegister = 8, 9

// sourceSet is the name of the set of pairs.
func sourceSet(six bool) string { return setName("source", six) }

// Sources is the messages that make the table, to be sent to a socket of the bridge's
// network namespace: what comes from an address that is not its port's is dropped, but
// for addresses of the link (RFC 4291, section 2.5.6), of which no name is known.
func Sources() []byte {
	b := batch{table: table, bridge: true}
	const preRouting = 0    // NF_BR_PRE_ROUTING
	priority := int32(-300) // before the bridge's own filters
	b.message(batchBegin, request, 0, subsystem)
	b.make(newTable, create, str(1, table))
	b.make(newChain, create, str(1, table), str(3, enters), attr(4|nested, be32(1, preRouting), be32(2, uint32(priority))), be32(5, accept), str(7, "filter"))
	for i, six := range []bool{false, true} {
		length := uint32(4 + 4)
		if six {
			length = 4 + 16
		}
		b.make(newSet, create, str(1, table), str(2, sourceSet(six)), be32(3, 0), be32(4, 0), be32(5, length), be32(10, uint32(i+1)), attr(9|nested, be32(1, maxMembers)))
	}
	passes := immediate(verdict, attr(2|nested, be32(1, accept)))
	_, source, size := sourceOf(true)
	link := netip.MustParsePrefix("fe80::/10")
	b.rule(enters, 0, concat(ether(true), load(networkHeader, source, size), bitwise(mask(link)), compare(eq, link.Addr().AsSlice()), passes))
	b.rule(enters, 0, concat(ether(true), load(networkHeader, source, size), compare(eq, make([]byte, size)), passes)) // who has no address yet
	for _, six := range []bool{false, true} {
		_, source, size := sourceOf(six)
		const inverted = 1 // NFT_LOOKUP_F_INV
		flags := uint16(0)
		if six {
			flags = ack
		}
		b.rule(enters, flags, concat(ether(six),
			expr("meta", be32(1, portRegister), be32(2, metaIIF)),
			expr("payload", be32(1, addressRegister), be32(2, networkHeader), be32(3, source), be32(4, size)),
			expr("lookup", str(1, sourceSet(six)), be32(2, portRegister), be32(5, inverted)),
			immediate(verdict, attr(2|nested, be32(1, drop)))))
	}
	b.message(batchEnd, request, 0, subsystem)
	return b.out
}

// sourceOf is the type of a frame of Ethernet with a version of IP in it, and where in
// its header the source is.
func sourceOf(six bool) (kind uint16, offset, size uint32) {
	if six {
		return 0x86dd, 8, 16
	}
	return 0x0800, 12, 4
}

// ether compares the type of a frame.
func ether(six bool) []byte {
	const metaProtocol = 1
	kind, _, _ := sourceOf(six)
	return concat(meta(metaProtocol), compare(eq, binary.BigEndian.AppendUint16(nil, kind)))
}

// AddSource is the messages that let what comes by a port have these addresses, and
// DropSource those that take that back.
func AddSource(port int, addresses ...netip.Addr) []byte {
	return sources(newElement, port, addresses)
}

// DropSource takes back what AddSource does.
func DropSource(port int, addresses ...netip.Addr) []byte {
	return sources(delElement, port, addresses)
}

func sources(what uint16, port int, addresses []netip.Addr) []byte {
	b := batch{table: table, bridge: true, seq: laterSeq}
	b.message(batchBegin, request, 0, subsystem)
	for i, a := range addresses {
		flags := uint16(0)
		if what == newElement {
			flags = create
		}
		if i == len(addresses)-1 {
			flags |= ack
		}
		pair := append(binary.NativeEndian.AppendUint32(nil, uint32(port)), a.AsSlice()...)
		b.make(what, flags, str(1, table), str(2, sourceSet(a.Is6())), attr(3|nested, attr(1|nested, attr(1|nested, attr(1, pair)))))
	}
	b.message(batchEnd, request, 0, subsystem)
	return b.out
}
