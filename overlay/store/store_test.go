//go:build !cgo

package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"github.com/sbx-sandbox/sbx/overlay/image"
)

func TestAccount(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:33:34:App:/srv:/bin/sh\nshort:x:1\n12:x:99:98::rel:/bin/sh\nbad:x:many:1::/:/bin/sh\napp:x:1:1::/:/bin/sh\n"
	const group = "root:x:0:\nmakers:x:50:app\n"
	for _, tt := range []struct {
		user string
		want image.Account
	}{
		{"", image.Account{Name: "root", Home: "/root"}},
		{"app", image.Account{UID: 33, GID: 34, Name: "app", Home: "/srv"}},
		{"33", image.Account{UID: 33, GID: 34, Name: "app", Home: "/srv"}},
		{"app:makers", image.Account{UID: 33, GID: 50, Name: "app", Home: "/srv"}},
		{"app:7", image.Account{UID: 33, GID: 7, Name: "app", Home: "/srv"}},
		{"777", image.Account{UID: 777, Home: "/"}},
		{"777:888", image.Account{UID: 777, GID: 888, Home: "/"}},
		{"12", image.Account{UID: 99, GID: 98, Name: "12", Home: "/"}}, // a name of digits is a name first
		{"none", image.Account{Problem: `the image's /etc/passwd has no user "none"`}},
		{"short", image.Account{Problem: `the image's /etc/passwd has no user "short"`}},
		{"bad", image.Account{Problem: `the image's /etc/passwd has no ids for "bad"`}},
		{"4294967296", image.Account{Problem: `the image's /etc/passwd has no user "4294967296"`}},
		{"-1", image.Account{Problem: `the image's /etc/passwd has no user "-1"`}},
		{"app:none", image.Account{UID: 33, Name: "app", Home: "/srv", Problem: `the image's /etc/group has no group "none"`}},
	} {
		if got := account(tt.user, passwd, group); got != tt.want {
			t.Errorf("account(%q) = %+v, want %+v", tt.user, got, tt.want)
		}
	}
	if got := account("", "", ""); got != (image.Account{Home: "/root"}) {
		t.Errorf("an image without names: %+v", got)
	}
}

func TestFileName(t *testing.T) {
	for path, want := range map[string]string{
		"/a/base.tar": "base", "/a/Base-1.TAR.gz": "base-1", "x.tar.zst": "x", "x.tgz": "x", "/a/b c!.oci.tar": "b-c", ".tar": "tar", "/": "image", "ü": "image", "a..b": "a..b",
	} {
		got := fileName(path)
		if got != want {
			t.Errorf("fileName(%q) = %q, want %q", path, got, want)
		}
		if err := image.CheckName(got); err != nil {
			t.Errorf("fileName(%q): %v", path, err)
		}
	}
}

func TestHoldsImage(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	for _, name := range []string{"blobs/", "./blobs/sha256/" + hex, "oci-layout", "index.json", "manifest.json", "repositories", hex + "/", hex + ".json", hex + ".tar", hex + "/layer.tar", "sha256:" + hex} {
		if !holdsImage(name) {
			t.Errorf("%q begins an image", name)
		}
	}
	for _, name := range []string{"./", "bin/", "etc/index.json", hex[1:], strings.ToUpper(hex), "", "manifest.json.bak"} {
		if holdsImage(name) {
			t.Errorf("%q begins a file tree", name)
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost:5000": true, "127.0.0.1:1": true, "[::1]:5000": true, "127.9.9.9": true,
		"10.0.0.1:5000": false, "example.com": false, "localhost.example.com": false, "": false,
	} {
		if loopback(host) != want {
			t.Errorf("loopback(%q) = %v", host, !want)
		}
	}
}

// said is an image as its manifest describes it.
type said struct {
	v1.Image // nil: nothing else is asked for
	manifest string
	config   []byte
	fetched  bool
}

func (s *said) Manifest() (*v1.Manifest, error) {
	return v1.ParseManifest(strings.NewReader(s.manifest))
}

func (s *said) RawConfigFile() ([]byte, error) {
	s.fetched = true
	return s.config, nil
}

// TestFetchedSizes: what a registry says of sizes that nothing can have is an error,
// before any of it is fetched.
func TestFetchedSizes(t *testing.T) {
	layer := digest.FromString("layer")
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, layer)
	for _, tt := range []struct {
		name, config, layer string
		want                string // of the error, "" for none
		fetched             bool   // the configuration
	}{
		{"as it is", fmt.Sprint(len(config)), "5", "", true},
		{"a layer of less than nothing", fmt.Sprint(len(config)), "-5", "that layer 1 has -5 bytes", true},
		{"a configuration of unknown size", "-1", "5", "configuration has -1 bytes", false},
		{"a configuration that fills memory", "1099511627776", "5", "configuration has 1099511627776 bytes", false},
	} {
		s := &said{config: config, manifest: fmt.Sprintf(`{"schemaVersion":2,"config":{"size":%s,"digest":%q},"layers":[{"size":%s,"digest":%q}]}`,
			tt.config, digest.FromBytes(config), tt.layer, layer)}
		f, err := fetched(s)
		switch {
		case tt.want == "" && (err != nil || len(f.blobs) != 1 || f.blobs[0].size != 5):
			t.Errorf("%s: %+v, %v", tt.name, f, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v", tt.name, err)
		}
		if s.fetched != tt.fetched {
			t.Errorf("%s: the configuration was fetched: %t", tt.name, s.fetched)
		}
	}
}

// TestMendLinks: a layer keeps its short name, whatever a killed process left of it.
func TestMendLinks(t *testing.T) {
	const name, other = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0BCDEFGHIJKLMNOPQRSTUVWXYZ"
	layer := strings.Repeat("a", 64)
	for _, tt := range []struct {
		name string
		file string // "-" for none
		link string
		want string // the file after, "-" for none, and the link
	}{
		{"whole", name, name, name},
		{"an empty file", "", name, name},
		{"an empty file, no link", "", "", "-"},
		{"a file cut short", name[:5], name, name},
		{"no file yet", "-", name, "-"},
		{"no link", name, "", name},
		{"a path for a name", "../../x", name, name},
		{"a name of another", other, name, other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, d := range []string{layer + "/diff", "l", "staging"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, layer, "link")
			if tt.file != "-" {
				if err := os.WriteFile(file, []byte(tt.file), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if tt.link != "" {
				if err := os.Symlink("../"+layer+"/diff", filepath.Join(dir, "l", tt.link)); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Remove(dir + "/l"); err != nil {
				t.Fatal(err)
			}
			if err := mendLinks(dir); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				text = []byte("-")
			}
			if string(text) != tt.want {
				t.Errorf("the file has %q, want %q", text, tt.want)
			}
			if tt.want == "-" {
				return
			}
			if to, err := os.Readlink(filepath.Join(dir, "l", tt.want)); err != nil || to != "../"+layer+"/diff" {
				t.Errorf("the link leads to %q, %v", to, err)
			}
		})
	}
}
