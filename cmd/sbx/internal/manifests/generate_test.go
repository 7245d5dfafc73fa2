package manifests

import (
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
)

func TestUndetached(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-d --name web build true", "--name web build true"},
		{"-dt --rm build true", "build true"},
		{"-dp 8080:80 build -d", "-p 8080:80 build -d"},
		{"-dm 1G -- true", "-m 1G -- true"},
		{"-itdm1G build", "-m1G build"},
		{"-dm=1G build", "-m=1G build"},
		{"-vd:/d build", "-vd:/d build"},
		{"-e -d -p 80 build", "-e -d -p 80 build"},
		{"--name -d build", "--name -d build"},
		{"--rm=false --detach --interactive -m 1G build", "-m 1G build"},
		{"-d -- -d", "-- -d"},
		{"-d=true -i=true build", "build"},
		{"-qd=true -t=always build", "-q build"},
		{"-dt=never build", "-t=never build"},
		{"-q=true build", "-q=true build"},
		{"--tty --interactive=true --detach=1 build", "build"},
		{"--tty=always --tty=never build", "--tty=never build"},
	} {
		args := strings.Fields(c.args)
		fs := options.RunSet()
		if err := fs.Parse(args); err != nil && c.args[:2] != "--" {
			t.Errorf("%s: %v", c.args, err)
		}
		if got := strings.Join(undetached(fs, args, fs.Args()), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.args, got, c.want)
		}
	}
}

func TestUnitDir(t *testing.T) {
	for _, dir := range []string{"/a\nExecStartPre=/bin/evil", `/a\`, "/a ", "/a\t", "/\x7f"} {
		var b strings.Builder
		if err := writeUnit(&b, "/bin/sbx", dir, []string{"true"}, "no"); err == nil || b.Len() > 0 {
			t.Errorf("%q: %v, and the unit\n%s", dir, err, &b)
		}
	}
	var b strings.Builder
	if err := writeUnit(&b, "/bin/sbx", `/a b/50%/"c\d`, []string{"true"}, "no"); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`WorkingDirectory=/a b/50%%/"c\d`, "SuccessExitStatus=143"} {
		if !slices.Contains(strings.Split(b.String(), "\n"), want) {
			t.Errorf("no line %s in\n%s", want, &b)
		}
	}
}
