package change

import (
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
)

// TestWithoutMade: what sbx made to mount on is no change, and what else lies there
// is.
func TestWithoutMade(t *testing.T) {
	made := []string{"/dev", "/etc/hosts", "/home/me/project", "/srv/link"}
	for _, tt := range []struct{ name, have, want string }{
		{"nothing else", "dev/ etc/hosts home/ home/me/ home/me/project/ srv/link@", ""},
		{"in a place of sbx's", "dev/ dev/x home/ home/me/ home/me/project/", "dev/ dev/x"},
		{"beside one", "home/ home/me/ home/me/other/ home/me/project/", "home/ home/me/ home/me/other/"},
		{"a file with something in it", "etc/hosts=5", "etc/hosts=5"},
		{"a directory in a file's place", "etc/ etc/hosts/ etc/hosts/x", "etc/ etc/hosts/ etc/hosts/x"},
		{"a file where a directory would be above", "home", "home"},
		{"another name", "devices/ dev-x/ home-/", "devices/ dev-x/ home-/"},
		{"deleted, changed", "-dev/ ~home/", "-dev/ ~home/"},
	} {
		var l List
		for _, word := range strings.Fields(tt.have) {
			c := Change{Kind: Added, Type: File}
			switch word[0] {
			case '-':
				c.Kind = Deleted
			case '~':
				c.Kind = Changed
			}
			c.Path = strings.TrimLeft(word, "-~")
			switch p := c.Path; p[len(p)-1] {
			case '/':
				c.Type = Dir
			case '@':
				c.Type = Symlink
			case '5':
				c.Now = beneath.Info{Size: 5}
			}
			c.Path, _, _ = strings.Cut(strings.TrimRight(c.Path, "/@"), "=")
			c.Target = word
			l.Changes = append(l.Changes, c)
		}
		l.WithoutMade(made)
		var got []string
		for _, c := range l.Changes {
			got = append(got, c.Target)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, s, tt.want)
		}
	}
}
