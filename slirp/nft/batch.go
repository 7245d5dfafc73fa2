package nft

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of linux/netfilter/nfnetlink.h and nf_tables.h.
const (
	batchBegin, batchEnd          = 0x10, 0x11
	subsystem                     = 10 // NFNL_SUBSYS_NFTABLES
	newTable, newChain, newRule   = 0, 3, 6
	delRule, newSet, newElement   = 8, 9, 12
	delElement                    = 14
	inet                          = 1 // NFPROTO_INET
	request, ack, create, appends = 0x1, 0x4, 0x400, 0x800
	nested                        = 0x8000 // NLA_F_NESTED

	metaMark, metaIIF, metaOIF, metaOIFName, metaNFProto, metaL4Proto = 3, 4, 5, 7, 15, 16
	eq, neq, lte, gte                                                 = 0, 1, 3, 5
	networkHeader, transportHeader                                    = 1, 2
	verdict, register                                                 = 0, 1
	drop, accept, goTo                                                = 0, 1, -4
	ctState, ctDirection, reply                                       = 0, 1, 1 // IP_CT_DIR_REPLY
	established                                                       = 2 | 4   // and related
)

// Names of what is made.
const (
	table   = "sbx"
	chain   = "out"
	refuses = "refuse"
	natTo   = "names"
	enters  = "in"
)

// Group is the group of nfnetlink_log to which what is refused is told, by Tell.
const Group = 1

// maxSet bounds the addresses of one name's set, maxMembers those of one in a named
// network: the kernel keeps room for so many.
const (
	maxSet     = 16384
	maxMembers = 1024
)

// Batch is the messages that make a table with the rules, to be sent to a socket
// of NETLINK_NETFILTER in one piece. The kernel takes all or nothing. Its first
// answer has the errno of the first message that it refuses, or 0.
func Batch(rules []Rule) []byte { return BatchOf(table, rules) }

// BatchOf is Batch for a table of another name: what leaves must pass all tables.
func BatchOf(table string, rules []Rule) []byte {
	b := batch{table: table}
	b.message(batchBegin, request, 0, subsystem)
	b.make(newTable, create, str(1, table))
	b.make(newChain, create, str(1, table), str(3, refuses))
	b.make(newChain, create, str(1, table), str(3, chain), hook(0), be32(5, drop), str(7, "filter"))
	b.rule(refuses, 0, concat(meta(metaL4Proto), compare(eq, []byte{tcp}), expr("reject", be32(1, 1 /* a reset */))))
	b.rule(refuses, 0, expr("reject", be32(1, 2 /* by either ICMP */), attr(2, []byte{1} /* port unreachable */)))
	b.all(rules)
	return b.out
}

// Replace is the messages that put other rules in the place of those of Batch.
// Names that were in a set stay in it.
func Replace(rules []Rule) []byte {
	b := batch{table: table, seq: laterSeq}
	b.message(batchBegin, request, 0, subsystem)
	b.make(delRule, 0, str(1, table), str(2, chain))
	b.all(rules)
	return b.out
}

// Set is the addresses of those who are called by a name.
type Set struct {
	Names     string
	Addresses []netip.Addr
}

// FillOf is the messages by which the sets of rules in a table of BatchOf have the
// addresses of a list and no others, all at once. It grows with the addresses by less
// than 30 bytes for each, whatever the number of rules.
func FillOf(table string, sets []Set) []byte {
	b := batch{table: table, seq: laterSeq}
	b.message(batchBegin, request, 0, subsystem)
	for i, s := range sets {
		for _, six := range []bool{false, true} {
			var elements [][]byte
			for _, a := range s.Addresses {
				if a.Is6() == six {
					elements = append(elements, element(a))
				}
			}
			flags := uint16(0)
			if i == len(sets)-1 && six {
				flags = ack
			}
			of := [][]byte{str(1, table), str(2, setName(s.Names, six))}
			if len(elements) == 0 {
				b.make(delElement, flags, of...)
				continue
			}
			b.make(delElement, 0, of...) // all of them
			b.make(newElement, create|flags, append(of, attr(3|nested, elements...))...)
		}
	}
	b.message(batchEnd, request, 0, subsystem)
	return b.out
}

// element is one of a set.
func element(a netip.Addr) []byte {
	key := attr(1|nested, attr(1, a.AsSlice()))
	return attr(1|nested, key)
}

// laterSeq numbers messages that are sent by another socket than the first.
const laterSeq = 1000

// all makes the sets of the rules, the rules, and the end of the batch.
func (b *batch) all(rules []Rule) {
	made := map[string]bool{}
	for _, r := range rules {
		if r.Names == "" || made[setName(r.Names, r.Six)] {
			continue
		}
		name := setName(r.Names, r.Six)
		made[name] = true
		kind, size := uint32(7 /* ipv4_addr */), uint32(4)
		if r.Six {
			kind, size = 8, 16
		}
		most := uint32(maxSet)
		if b.table != table {
			most = maxMembers
		}
		b.make(newSet, create, str(1, b.table), str(2, name), be32(3, 0), be32(4, kind), be32(5, size),
			be32(10, uint32(len(made))), attr(9|nested, be32(1, most)))
	}
	for _, r := range rules {
		b.rule(chain, 0, r.expressions())
	}
	b.rule(chain, ack, goes(refuses))
	b.message(batchEnd, request, 0, subsystem)
}

// setName is the name of the set with the addresses of one version that a
// pattern for names leads to; a name of DNS is short enough for one.
func setName(pattern string, six bool) string {
	if six {
		return "6." + pattern
	}
	return "4." + pattern
}

// Add is the messages that add an address to the sets of patterns, the last of
// which is answered.
func Add(patterns []string, a netip.Addr) []byte {
	b := batch{table: table, seq: laterSeq}
	b.message(batchBegin, request, 0, subsystem)
	for i, p := range patterns {
		flags := uint16(create)
		if i == len(patterns)-1 {
			flags |= ack
		}
		b.make(newElement, flags, str(1, table), str(2, setName(p, a.Is6())), attr(3|nested, element(a)))
	}
	b.message(batchEnd, request, 0, subsystem)
	return b.out
}

// Tell is the messages that have what is refused told to Group (nfnetlink_log).
// A kernel that can't do so refuses them, and all stays as it is.
func Tell() []byte { return TellOf(table) }

// TellOf is Tell for the table of BatchOf.
func TellOf(table string) []byte {
	b := batch{table: table}
	b.message(batchBegin, request, 0, subsystem)
	be16 := func(kind, v uint16) []byte { return attr(kind, binary.BigEndian.AppendUint16(nil, v)) }
	log := expr("log", be16(1, Group), be32(3, snap), be16(4, 1 /* each at once */))
	b.make(newRule, create|ack, str(1, table), str(2, refuses), attr(4|nested, log)) // the first
	b.message(batchEnd, request, 0, subsystem)
	return b.out
}

// Limit is the messages that have what comes in dropped beyond so many bytes a second,
// after a first second's, but for what comes from the sandbox itself. It is for the
// table of Batch.
func Limit(bytes int64) []byte {
	b := batch{table: table}
	const localIn, above, byBytes = 1, 1, 1 // NF_INET_LOCAL_IN, NFT_LIMIT_F_INV, NFT_LIMIT_PKT_BYTES
	be64 := func(kind uint16, v uint64) []byte { return attr(kind, binary.BigEndian.AppendUint64(nil, v)) }
	b.message(batchBegin, request, 0, subsystem)
	b.make(newChain, create, str(1, table), str(3, enters), attr(4|nested, be32(1, localIn), be32(2, 0)), be32(5, accept), str(7, "filter"))
	b.rule(enters, ack, concat(
		meta(metaIIF), compare(neq, binary.NativeEndian.AppendUint32(nil, 1)),
		expr("limit", be64(1, uint64(bytes)), be64(2, 1 /* second */), be32(3, 0), be32(4, byBytes), be32(5, above)),
		immediate(verdict, attr(2|nested, be32(1, drop)))))
	b.message(batchEnd, request, 0, subsystem)
	return b.out
}

// Redirect is the messages that lead questions to name servers of IPv4, whichever
// they are for, to 127.0.0.1, but for those to exceptions. A kernel that can't do
// so refuses them; such questions are then refused, as the rules have it.
func Redirect(exceptions []netip.Prefix) []byte {
	b := batch{table: table}
	b.message(batchBegin, request, 0, subsystem)
	const dstNAT = -100
	b.make(newChain, create, str(1, table), str(3, natTo), hook(dstNAT), str(7, "nat"))
	for _, p := range exceptions {
		if p.Addr().Is4() {
			r := Rule{Prefix: p, Action: Accept}
			b.rule(natTo, 0, r.expressions())
		}
	}
	four := concat(meta(metaNFProto), compare(eq, []byte{2 /* NFPROTO_IPV4 */}))
	for _, protocol := range []uint8{tcp, udp} {
		r := Rule{Protocol: protocol, First: 53, Last: 53}
		b.rule(natTo, 0, concat(four, meta(metaL4Proto), compare(eq, []byte{protocol}), r.ports(), expr("redir")))
	}
	b.message(batchEnd, request, 0, subsystem)
	return b.out
}

// ifNameSize is IFNAMSIZ of linux/if.h.
const ifNameSize = 16

// hook is of a chain for what leaves the sandbox, NF_INET_LOCAL_OUT.
func hook(priority int32) []byte {
	return attr(4|nested, be32(1, 3), be32(2, uint32(priority)))
}

// batch is messages, each a struct nlmsghdr, a struct nfgenmsg and attributes.
type batch struct {
	table  string
	bridge bool // it is about what passes a bridge, and not of inet
	out    []byte
	seq    uint32
}

func (b *batch) message(kind, flags uint16, family uint8, resource uint16, attrs ...[]byte) {
	body := concat(attrs...)
	b.out = binary.NativeEndian.AppendUint32(b.out, uint32(20+len(body)))
	b.out = binary.NativeEndian.AppendUint16(b.out, kind)
	b.out = binary.NativeEndian.AppendUint16(b.out, flags)
	b.out = binary.NativeEndian.AppendUint32(b.out, b.seq)
	b.out = binary.NativeEndian.AppendUint32(b.out, 0)
	b.out = append(b.out, family, 0)
	b.out = binary.BigEndian.AppendUint16(b.out, resource)
	b.out = append(b.out, body...)
	b.seq++
}

func (b *batch) make(what, flags uint16, attrs ...[]byte) {
	family := uint8(inet)
	if b.bridge {
		family = 7 // NFPROTO_BRIDGE
	}
	b.message(subsystem<<8|what, request|flags, family, 0, attrs...)
}

func (b *batch) rule(chain string, flags uint16, expressions []byte) {
	b.make(newRule, create|appends|flags, str(1, b.table), str(2, chain), attr(4|nested, expressions))
}

// expressions are those of a rule: its conditions, then what is done.
func (r *Rule) expressions() []byte {
	var e []byte
	add := func(more ...[]byte) { e = append(e, concat(more...)...) }
	if r.Loopback {
		add(meta(metaOIF), compare(eq, binary.NativeEndian.AppendUint32(nil, 1)))
	}
	if r.Beside != "" {
		add(meta(metaOIFName), compare(neq, append([]byte(r.Beside), make([]byte, ifNameSize-len(r.Beside))...)))
	}
	if r.Established {
		mask, zero := binary.NativeEndian.AppendUint32(nil, established), make([]byte, 4)
		add(expr("ct", be32(1, register), be32(2, ctState)), bitwise(mask), compare(neq, zero))
		add(expr("ct", be32(1, register), be32(2, ctDirection)), compare(eq, []byte{reply}))
	}
	switch {
	case r.Prefix.IsValid():
		add(r.destination())
	case r.Names != "":
		family, offset, size := version(r.Six)
		add(meta(metaNFProto), compare(eq, []byte{family}), load(networkHeader, offset, size),
			expr("lookup", str(1, setName(r.Names, r.Six)), be32(2, register)))
	}
	if r.Protocol != 0 {
		add(meta(metaL4Proto), compare(eq, []byte{r.Protocol}))
	}
	if r.First != 0 || r.Last != 0 {
		add(r.ports())
	}
	if r.Class != 0 {
		add(meta(metaMark), compare(eq, binary.NativeEndian.AppendUint32(nil, uint32(r.Class))))
	}
	switch r.Action {
	case Accept:
		add(immediate(verdict, attr(2|nested, be32(1, accept))))
	case Classify:
		add(immediate(register, attr(1, binary.NativeEndian.AppendUint32(nil, uint32(r.Mark)))), expr("meta", be32(2, metaMark), be32(3, register)))
	default:
		add(goes(refuses))
	}
	return e
}

// destination compares the address in the header of IP.
func (r *Rule) destination() []byte {
	addr := r.Prefix.Addr().AsSlice()
	family, offset, size := version(r.Prefix.Addr().Is6())
	e := concat(meta(metaNFProto), compare(eq, []byte{family}), load(networkHeader, offset, size))
	if r.Prefix.Bits() < 8*len(addr) {
		e = append(e, bitwise(mask(r.Prefix))...)
	}
	return append(e, compare(eq, addr)...)
}

// version is the number of a version of IP (NFPROTO_IPV4, NFPROTO_IPV6), and
// where in its header the destination is.
func version(six bool) (family uint8, offset, size uint32) {
	if six {
		return 10, 24, 16
	}
	return 2, 16, 4
}

func mask(p netip.Prefix) []byte {
	m := make([]byte, len(p.Addr().AsSlice()))
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// ports compares the destination's port, or the type of ICMPv6.
func (r *Rule) ports() []byte {
	if r.Protocol == icmpv6 {
		return concat(load(transportHeader, 0, 1), compare(gte, []byte{byte(r.First)}), compare(lte, []byte{byte(r.Last)}))
	}
	port := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	e := load(transportHeader, 2, 2)
	if r.First == r.Last {
		return append(e, compare(eq, port(r.First))...)
	}
	return concat(e, compare(gte, port(r.First)), compare(lte, port(r.Last)))
}

func meta(key uint32) []byte { return expr("meta", be32(1, register), be32(2, key)) }

func load(base, offset, size uint32) []byte {
	return expr("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, size))
}

func bitwise(mask []byte) []byte {
	return expr("bitwise", be32(1, register), be32(2, register), be32(3, uint32(len(mask))),
		attr(4|nested, attr(1, mask)), attr(5|nested, attr(1, make([]byte, len(mask)))))
}

func compare(op uint32, value []byte) []byte {
	return expr("cmp", be32(1, register), be32(2, op), attr(3|nested, attr(1, value)))
}

func immediate(into uint32, data []byte) []byte {
	return expr("immediate", be32(1, into), attr(2|nested, data))
}

func goes(chain string) []byte {
	code := int32(goTo)
	return immediate(verdict, attr(2|nested, be32(1, uint32(code)), str(2, chain)))
}

// expr is an element of a rule's list of expressions.
func expr(name string, data ...[]byte) []byte {
	return attr(1|nested, str(1, name), attr(2|nested, data...))
}

// attr is a struct nlattr with what belongs to it, filled up to four bytes.
func attr(kind uint16, parts ...[]byte) []byte {
	body := concat(parts...)
	out := binary.NativeEndian.AppendUint16(nil, uint16(4+len(body)))
	out = binary.NativeEndian.AppendUint16(out, kind)
	out = append(out, body...)
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	return out
}

func str(kind uint16, s string) []byte { return attr(kind, append([]byte(s), 0)) }

func be32(kind uint16, v uint32) []byte { return attr(kind, binary.BigEndian.AppendUint32(nil, v)) }

func concat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
