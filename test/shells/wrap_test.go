package shells

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// completed says how each shell is given the completions of a checkout.
var completed = map[string]string{
	"bash": ". %s/completions/sbx.bash\n",
	"zsh":  "fpath=(%s/completions $fpath); autoload -Uz compinit; compinit -u -D\n",
	"fish": "source %s/completions/sbx.fish\n",
}

// TestWrapped: a wrapped program is in a sandbox when it is called by name, and is
// a job like any other; words of sbx are completed with a tab, also those that
// only sbx knows.
func TestWrapped(t *testing.T) {
	for _, s := range shells {
		t.Run(s.name, func(t *testing.T) {
			sbxtest.Require(t, sbxtest.UserNS, sbxtest.TTY, sbxtest.Tool(s.name), sbxtest.Tool("make"))
			sbxtest.Leftovers(t)
			w := world.New(t)
			world.Adopt(t)
			shims := "export PATH=" + w.Home + "/.local/share/sbx/shims:\"$PATH\"\n"
			if s.name == "fish" {
				shims = "fish_add_path --path --move " + w.Home + "/.local/share/sbx/shims\n"
			}
			w.Write(t, w.Home+"/"+s.rc, fmt.Sprintf(completed[s.name], sbxtest.Checkout(t))+shims+strings.Split(fmt.Sprintf(s.text, outside), "\n")[0]+"\n")
			w.Write(t, w.Work+"/mine/Makefile", "where:\n\t@cat /proc/1/comm\n")
			if r := w.Run(t, w.Sbx, "wrap", "install", "make", "sleep"); r.Code != 0 {
				t.Fatal(r.Err)
			}

			term, cmd := interactive(t, w, s.name, s.argv)
			at := term.Expect(t, 0, outside)
			do := func(line string, expect ...string) {
				t.Helper()
				term.Type(t, line+"\r")
				for _, text := range expect {
					at = term.Expect(t, at, text)
				}
			}
			// press presses a key until the text is there: one that comes before the
			// terminal is set up for the job is lost.
			press := func(key string, texts ...string) {
				t.Helper()
				var pressed time.Time
				from := at
				world.Until(t, texts[0], func() bool {
					if time.Since(pressed) > 2*time.Second {
						term.Type(t, key)
						pressed = time.Now()
					}
					for _, text := range texts {
						if i := strings.Index(term.Output()[from:], text); i >= 0 {
							at = from + i + len(text)
							return true
						}
					}
					return false
				})
			}
			do("cd "+w.Work+"/mine", outside)
			do("make where", "sbx-init", outside)
			do("sbx doct\t| tail -n 1", "sandboxes can be started here", outside)
			do("sbx explain stri\t| head -n 1", "strict, from builtin:", outside)
			// A job is stopped, comes back, and is interrupted.
			do("sleep 600", "sleep 600")
			press("\x1a", "Stopped", "suspended", "stopped")
			at = term.Expect(t, at, outside)
			// By number: bash knows no current job where one stops before it is executed.
			do("fg %1", "sleep 600")
			press("\x03", outside)
			do("exit")
			_ = cmd.Wait() // some shells' status is that of the interrupted job
			if r := w.Run(t, w.Sbx, "ps", "-q"); r.Out != "" {
				t.Errorf("it goes on: %s", r.Out)
			}
		})
	}
}
