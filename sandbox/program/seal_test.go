package program

import (
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// TestSeal: each read-only tmpfs is made so after all that lies below it, and
// what is to be written there stays writable.
func TestSeal(t *testing.T) {
	ro := func(target string) sandbox.Mount {
		return sandbox.Mount{Kind: sandbox.Tmpfs, Target: target, IsDir: true, Size: 4096, Inodes: 9, ReadOnly: true, Own: true, Direct: true}
	}
	bind := func(target string, sealed, readOnly bool) sandbox.Mount {
		return sandbox.Mount{Kind: sandbox.Bind, Target: target, Source: "/srv", IsDir: true, ReadOnly: readOnly, Sealed: sealed, Own: true, Direct: true}
	}
	loose := ro("/proj/t")
	loose.Direct = false
	const mount, all = "mount a tmpfs of 4096 bytes on ", " read-only with all that is below"
	for _, tt := range []struct {
		name   string
		mounts []sandbox.Mount
		want   []string
	}{
		{"alone", []sandbox.Mount{ro("/a")}, []string{mount + "/a", "make /a" + all}},
		{
			"sealed below", []sandbox.Mount{ro("/a"), bind("/a/b", true, true), bind("/a-b", false, false)},
			[]string{mount + "/a", "bind /srv on /a/b read-only", "make /a" + all, "bind /srv on /a-b read-write", "put it on /a-b"},
		},
		{
			"writable below", []sandbox.Mount{ro("/a"), bind("/a/b", true, true), bind("/a/c", false, false)},
			[]string{mount + "/a", "bind /srv on /a/b read-only", "bind /srv on /a/c read-write", "put it on /a/c", "make /a read-only", "make /a/b read-only"},
		},
		{
			"one in another", []sandbox.Mount{ro("/a"), ro("/a/b"), bind("/a/b/c", false, true), bind("/a/d", false, true)},
			[]string{
				mount + "/a", mount + "/a/b", "bind /srv on /a/b/c read-only", "put it on /a/b/c", "make /a/b" + all,
				"bind /srv on /a/d read-only", "put it on /a/d", "make /a" + all,
			},
		},
		{
			"in a tree of others", []sandbox.Mount{bind("/proj", false, false), loose},
			[]string{"bind /srv on /proj read-write", "put it on /proj", mount + "/proj/t", "make /proj/t" + all},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := *plans(t)["build"]
			plan.Mounts = tt.mounts
			p, err := Compile(&plan)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range p.Steps {
				got = append(got, s.Doc())
			}
			first := slices.Index(got, "mask /proc/key-users") + 1
			if got = got[first : first+len(tt.want)]; !slices.Equal(got, tt.want) {
				t.Errorf("steps\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}
