package slirp

import "net/netip"

// Forward is what `sbx-net forward --protocol 1` reads from standard input: the
// ports that a slirp4netns which runs is to publish. It ends with status 0 when
// they listen, or says on standard error why they don't.
type Forward struct {
	Socket  string     `json:"socket"`  // slirp4netns's --api-socket
	Address netip.Addr `json:"address"` // the sandbox's
	Publish []Publish  `json:"publish"`
}
