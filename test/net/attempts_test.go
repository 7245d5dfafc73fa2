package net

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/slirp/tun"
	"github.com/sbx-sandbox/sbx/test/reach"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// What this program does inside a sandbox instead of testing, by variables of its
// environment: it fetches a URL, or makes tries of package reach, whose names are
// in a file of JSON, and prints what they came to.
const (
	insideFetch = "SBX_TEST_NET_FETCH"
	insideTries = "SBX_TEST_NET_TRIES"
)

// payload does that.
func payload() (code int, did bool) {
	var err error
	switch {
	case os.Getenv(insideFetch) != "":
		err = fetch(os.Getenv(insideFetch))
	case os.Getenv(insideTries) != "":
		err = try(os.Getenv(insideTries))
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func fetch(url string) error {
	r, err := http.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(os.Stdout, r.Body)
	return err
}

func try(list string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		return err
	}
	text, err = os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	env := &reach.Env{Inside: true}
	for line := range strings.Lines(string(text)) {
		if server, ok := strings.CutPrefix(strings.TrimSpace(line), "nameserver "); ok && env.Resolver == "" {
			env.Resolver = server + ":53"
		}
	}
	if env.Device, err = tun.Index("sbx0"); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(env.Run(names))
}

// differs is where a backend reaches something else than sbx-net does, and why.
var differs = map[string]map[string]bool{
	"engine": {},
	"pasta":  byAddress,
	"slirp4netns": with(byAddress, map[string]bool{
		"16 https by name, IPv6": false, // it has no IPv6
	}),
}

// byAddress is what follows from rules by name that hold for a name's addresses,
// without a look into TLS.
var byAddress = map[string]bool{
	"18 neighbour's name at an allowed address": true,
	"20 no name at an allowed address":          true,
	"21 no TLS at an allowed address":           true,
}

func with(a, b map[string]bool) map[string]bool {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

// TestAttempts: what is not allowed is not reached, however it is tried, by a
// command of one's own id and by one that is root of its namespaces. Each try
// reaches something from the host, which is its control.
func TestAttempts(t *testing.T) {
	sbxtest.Leftovers(t)
	at(t)
	all := slices.Sorted(maps.Keys(reach.Attempts))
	control := (&reach.Env{Resolver: server + ":53"}).Run(all)
	for _, name := range all {
		// A raw socket takes a right that neither has; TestBypass of test/engine does.
		if r := control[name]; !r.Reached() && !slices.Contains(reach.NoControl, name) && name != "26 another protocol" {
			t.Errorf("%s: the control does not reach it: %s", name, r.Error)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := json.Marshal(reach.FewRules)
	if err != nil {
		t.Fatal(err)
	}
	for backend, other := range differs {
		for _, as := range []string{"keep", "root"} {
			t.Run(backend+" "+as, func(t *testing.T) {
				if backend != "engine" {
					sbxtest.Require(t, sbxtest.Tool(backend))
				}
				p := at(t)
				p.equip(map[string]string{"tries": string(text)})
				profile := p.profile(fmt.Sprintf("backend = %q\nallow = %s", backend, rules))
				got := p.run(profile, insideTries+"=tries ./self", "--user="+as)
				var results map[string]reach.Result
				if err := json.Unmarshal([]byte(got.Out), &results); err != nil {
					t.Fatalf("%v: %+v", err, got)
				}
				for _, name := range all {
					want := reach.Attempts[name]
					if w, ok := other[name]; ok {
						want = w
					}
					r := results[name]
					if r.Reached() != want {
						t.Errorf("%s: reached is %v: %q %s", name, r.Reached(), r.Text, r.Error)
					}
					if !r.Reached() && r.Took > reach.Patience {
						t.Errorf("%s: it took %v to fail", name, r.Took)
					}
				}
			})
		}
	}
}
