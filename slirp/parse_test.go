package slirp

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseEntries(t *testing.T) {
	hostPort := func(s string) (any, error) { return ParseHostPort(s) }
	server := func(s string) (any, error) { return ParseServer(s) }
	host := func(s string) (any, error) { return ParseHost(s) }
	for _, tt := range []struct {
		parse      func(string) (any, error)
		text, want string
		refused    string
	}{
		{parse: hostPort, text: "5432", want: "{tcp 5432 5432 }"},
		{parse: hostPort, text: "5432:15432", want: "{tcp 15432 5432 }"},
		{parse: hostPort, text: "5353:9953/udp", want: "{udp 9953 5353 }"},
		{parse: hostPort, text: "53:5353/udp", want: "{udp 5353 53 }"},
		{parse: hostPort, text: "", refused: "is no port"},
		{parse: hostPort, text: "80/sctp", refused: "tcp or udp"},
		{parse: hostPort, text: "0", refused: "from 1 on"},
		{parse: hostPort, text: "53", refused: "name server"},
		{parse: hostPort, text: "1:2:3", refused: "is no port"},
		{parse: server, text: "192.0.2.1", want: "192.0.2.1:53"},
		{parse: server, text: "192.0.2.1:5353", want: "192.0.2.1:5353"},
		{parse: server, text: "2001:db8::1", want: "[2001:db8::1]:53"},
		{parse: server, text: "[2001:db8::1]:5353", want: "[2001:db8::1]:5353"},
		{parse: server, text: "dns.example.org", refused: "in numbers"},
		{parse: server, text: "192.0.2.1:0", refused: "nothing listens"},
		{parse: server, text: "0.0.0.0", refused: "nothing listens"},
		{parse: host, text: "DB:192.0.2.7", want: "{db [192.0.2.7]}"},
		{parse: host, text: "db.example.org:2001:db8::1", want: "{db.example.org [2001:db8::1]}"},
		{parse: host, text: "db:[::1]", want: "{db [::1]}"},
		{parse: host, text: "db", refused: "NAME:ADDRESS"},
		{parse: host, text: "db:x", refused: "no address"},
		{parse: host, text: "1.2:192.0.2.7", refused: "no name"},
		{parse: host, text: "db:host-gateway", refused: "host.sbx.internal"},
		{parse: host, text: "host.sbx.internal:192.0.2.7", refused: "the host's own"},
	} {
		got, err := tt.parse(tt.text)
		switch {
		case tt.refused != "":
			if err == nil || !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("%q: %v, %v; it should say %q", tt.text, got, err, tt.refused)
			}
		case err != nil || fmt.Sprint(got) != tt.want:
			t.Errorf("%q: %v, %v; want %s", tt.text, got, err, tt.want)
		}
	}
}
