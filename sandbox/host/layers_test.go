package host

import (
	"bufio"
	"slices"
	"strings"
	"testing"
)

func TestLayering(t *testing.T) {
	const mounts = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:20 / /proc rw - proc proc rw
24 22 0:30 / /mnt/a\040b rw master:3 shared:4 - nfs4 host:/x rw
25 24 0:31 / /mnt/a\040b/in\134ner rw - tmpfs tmpfs rw
26 22 0:32 / /home rw - xfs /dev/sdb rw
27 26 0:33 / /home rw - btrfs /dev/sdc rw
broken
`
	for _, tt := range []struct {
		dir, typ string
		below    []string
	}{
		{"/", "ext4", []string{"/proc", "/mnt/a b", `/mnt/a b/in\ner`, "/home", "/home"}},
		{"/srv", "ext4", nil},
		{"/mnt/a", "ext4", nil},
		{"/mnt/a b", "nfs4", []string{`/mnt/a b/in\ner`}},
		{"/mnt/a b/c", "nfs4", nil},
		{`/mnt/a b/in\ner/x`, "tmpfs", nil},
		{"/homes", "ext4", nil},
		{"/home/u", "btrfs", nil},
	} {
		got, err := layering(bufio.NewScanner(strings.NewReader(mounts)), tt.dir)
		if err != nil || got.Type != tt.typ || !slices.Equal(got.Mounts, tt.below) {
			t.Errorf("%s: %+v, %v; want %s and %q", tt.dir, got, err, tt.typ, tt.below)
		}
	}
	if _, err := layering(bufio.NewScanner(strings.NewReader("")), "/"); err == nil {
		t.Error("no mounts, and a type")
	}
}

// TestLayeringTotal: a directory that is not there lies where the one above it does.
func TestLayeringTotal(t *testing.T) {
	dir := t.TempDir()
	here, err := OS{}.Layering(dir)
	if err != nil || here.Total <= 0 {
		t.Fatalf("%+v, %v", here, err)
	}
	if below, err := (OS{}).Layering(dir + "/not/there"); err != nil || below.Total != here.Total {
		t.Errorf("%+v, %v; want %d bytes", below, err, here.Total)
	}
}
