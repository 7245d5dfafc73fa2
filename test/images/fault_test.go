package images

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sbx-sandbox/sbx/test/world"
)

// TestTwoAtOnce: imports and pulls of the same layers, removals and runs do not
// get into each other's way.
func TestTwoAtOnce(t *testing.T) {
	s := newSite(t, "umoci", "skopeo", "tar")
	at := s.layout(t)
	h := newHub(t)
	ref := h.addr() + "/made:v1"
	s.outside(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+at+":v1", "docker://"+ref)
	s.must(t, "image", "import", "--name", "steady", s.Home+"/first.tar")
	var commands [][]string
	for i := range 3 {
		commands = append(commands,
			[]string{"image", "import", "--name", fmt.Sprintf("at:%d", i), at},
			[]string{"image", "pull", "--name", fmt.Sprintf("pulled:%d", i), ref},
			[]string{"run", "--image", "steady", "--", "cat", "/srv/marker"},
			[]string{"image", "ls"})
	}
	results := make([]world.Result, len(commands))
	var wg sync.WaitGroup
	for i, c := range commands {
		wg.Go(func() { results[i] = world.Wait(t, s.Command(append([]string{s.Sbx}, c...)...)) })
	}
	wg.Wait()
	for i, got := range results {
		if got.Code != 0 {
			t.Errorf("%q: status %d, %s", commands[i], got.Code, got.Err)
		}
	}
	for i := range 3 {
		for _, name := range []string{"at", "pulled"} {
			same(t, name, s.sbx(t, "run", "--image", fmt.Sprintf("%s:%d", name, i)), "second\n")
		}
	}
	if left := s.layers(t); len(left) != 2 {
		t.Errorf("two different layers are kept as %d", len(left))
	}
}

// TestFullDisk: where there is no room an import or a pull says so and keeps
// nothing, and what is there stays usable.
func TestFullDisk(t *testing.T) {
	s := newSite(t, "unshare", "mount", "skopeo")
	root := s.tree(t)
	s.Write(t, filepath.Join(root, "srv/large"), strings.Repeat("x", 12<<20))
	s.outside(t, "sh", "-c", "cp -r "+root+" "+s.Home+"/small && rm "+s.Home+"/small/srv/large")
	h := newHub(t)
	s.must(t, "image", "import", "--name", "large", root)
	s.must(t, "image", "export", "--format", "oci", "large", s.Home+"/large-layout")
	s.outside(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:"+s.Home+"/large-layout", "docker://"+h.addr()+"/large:v1")
	script := `mount -t tmpfs -o size=12m,mode=700 none "$1" && export XDG_DATA_HOME="$1" && shift
"$1" image import --min-free 1 --name small "$2" || exit 90
"$1" image import --min-free 1 --name large "$3" && exit 91
"$1" image import --min-free 1T --name large "$3" && exit 92
"$1" image pull --min-free 1 --name large "$4" && exit 95
"$1" image prune || exit 93
"$1" run --image small -- cat /srv/marker || exit 94
"$1" image ls; df --output=avail -k "$XDG_DATA_HOME" | tail -1`
	disk := filepath.Join(s.Home, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	got := s.Run(t, "unshare", "-Urm", "sh", "-c", script, "sh", disk, s.Sbx, s.Home+"/small", root, h.addr()+"/large:v1")
	if got.Code != 0 || strings.Count(got.Err, "no space left") != 2 || !strings.Contains(got.Err, "are to stay free") || !strings.Contains(got.Out, "first\n") || strings.Contains(got.Out, "large") {
		t.Errorf("status %d\n%s%s", got.Code, got.Out, got.Err)
	}
	var avail int
	lines := strings.Fields(got.Out)
	if _, err := fmt.Sscan(lines[len(lines)-1], &avail); err != nil || avail < 7<<10 {
		t.Errorf("%d KiB of 12 MiB are free again, %v", avail, err)
	}
}
