package files

import (
	"os"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestHome: changes to a home that is kept are kept apart from it, with the project
// lying in it, and are looked at, taken over and thrown away as any others.
func TestHome(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			sbxtest.Require(t, w.needs...)
			p := newPlace(t)
			sbxtest.Leftovers(t)
			p.Write(t, p.Home+"/.shared", "of the host\n")
			home := p.Home + "/.local/share/sbx/homes/mine"
			kept := w.flags("--name=mine", "--home=persistent", "--set", "home.share=[\"~/.shared\"]")
			p.ok(t, p.sbx(kept, "sh", "-c", "cd; mkdir tool; echo base >tool/f; echo gone >tool/gone; cat .shared >seen")...)
			layered := append(kept, "--set", "home.access=overlay", "--set", "overlay.name=it")
			p.ok(t, p.sbx(layered, "sh", "-c", "cd; cat .shared; echo more >>tool/f; rm tool/gone; mkdir new; echo x >new/f; echo y >"+p.Work+"/made")...)
			if text, err := os.ReadFile(home + "/tool/f"); err != nil || string(text) != "base\n" || !world.Exists(home+"/tool/gone") || world.Exists(home+"/new") {
				t.Errorf("the home was changed: %q, %v", text, err)
			}
			if !world.Exists(p.Work + "/made") {
				t.Error("the project, which is no part of the layer, was not")
			}
			if got := p.ok(t, p.sbx(layered, "sh", "-c", "cd; cat tool/f new/f; ls tool")...); got != "base\nmore\nx\nf\n" {
				t.Errorf("going on: %q", got)
			}
			if got := p.ok(t, p.sbx(kept, "sh", "-c", "cd; cat tool/f; ls tool")...); got != "base\nf\ngone\n" {
				t.Errorf("without the layer: %q", got)
			}
			want := "A  new/\nA  new/f\nM  tool/f\nD  tool/gone\n"
			if got := p.ok(t, p.Sbx, "diff", "it"); got != want {
				t.Errorf("diff:\n%swant\n%s", got, want)
			}
			p.ok(t, p.Sbx, "apply", "it", "--only", "new/**")
			if !world.Exists(home+"/new/f") || !world.Exists(home+"/tool/gone") {
				t.Error("apply took over something else than it was to")
			}
			p.ok(t, p.Sbx, "apply", "it")
			if got := p.ok(t, p.Sbx, "diff", "it"); got != "" || world.Exists(home+"/tool/gone") {
				t.Errorf("after all was taken over: %s", got)
			}
			p.ok(t, p.Sbx, "discard", "it")
			var names []string
			entries, _ := os.ReadDir(home)
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if got := strings.Join(names, " "); got != ".shared new seen tool tools work" { // some of which sbx made to mount on
				t.Errorf("left in the home: %s", got)
			}
		})
	}
}

// TestHostHome: the host's own home, changes in memory. On disk they would lie in
// themselves, and sbx's own settings could be taken over.
func TestHostHome(t *testing.T) {
	sbxtest.Require(t, sbxtest.Overlay)
	p := newPlace(t)
	sbxtest.Leftovers(t)
	p.Write(t, p.Home+"/.profile", "mine\n")
	host := []string{"--home=host", "--set", "home.access=overlay", "--set", "overlay.backend=kernel"}
	script := "cd; echo bad >>.profile; cat .profile; touch new"
	got := p.Run(t, p.sbx(append(host, "--set", "overlay.name=it"), "sh", "-c", script)...)
	if got.Code != 125 || !strings.Contains(got.Err, "holds sbx's own directory") || !strings.Contains(got.Err, `overlay.upper = "tmpfs"`) {
		t.Errorf("in itself: status %d, %s", got.Code, got.Err)
	}
	got = p.Run(t, p.sbx(append(host, "--set", "overlay.upper=tmpfs"), "sh", "-c", script)...)
	old := got.Code == 125 && strings.Contains(got.Err, "Linux 6.6")
	if !old && (got.Code != 0 || got.Out != "mine\nbad\n") {
		t.Errorf("in memory: status %d, %q, %s", got.Code, got.Out, got.Err)
	}
	if text, err := os.ReadFile(p.Home + "/.profile"); err != nil || string(text) != "mine\n" || world.Exists(p.Home+"/new") {
		t.Errorf("the home was changed: %q, %v", text, err)
	}
}
