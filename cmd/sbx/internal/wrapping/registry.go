package wrapping

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/shim"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/slirp"
)

// askedRegistry is what --registry without a value stands for: the program is
// asked where its registry is.
const askedRegistry = "ask"

// online is a program's way to a registry.
type online struct {
	programs []string
	// phases are its verbs that need the registry, and in which of the profile's
	// phases they run; without, all of the command has it.
	phases map[string]string
	// ask finds the registry that the program is set to; nil where it can't tell.
	ask func(shims string) (registry, error)
	// set are the variables that lead the program to a registry's address.
	set func(address string) []string
	// on are the variables for one without phases that take back what its profile
	// says of being offline, where no address does.
	on []string
}

// registry is whom a program may talk to for packages.
type registry struct {
	allow []string // rules
	env   []string // NAME=VALUE
	show  []string // FILE:TARGET of settings, which every phase is to see
}

// verbs maps each word to a phase.
func verbs(phases ...string) map[string]string {
	m := map[string]string{}
	for _, p := range phases {
		phase, words, _ := strings.Cut(p, ":")
		for _, w := range strings.Fields(words) {
			m[w] = phase
		}
	}
	return m
}

// onlines are the programs whose ways to a registry are known.
func onlines() []online {
	return []online{
		{
			programs: []string{"npm"}, ask: npmRegistry, set: npmSettings,
			phases: verbs("all: install i in ins add ci clean-install ic update up upgrade install-test it uninstall remove rm un dedupe",
				"fetch: view info show v search outdated audit ping"),
		},
		{
			programs: []string{"pnpm"}, ask: npmRegistry, set: npmSettings,
			phases: verbs("all: install i add update up upgrade remove rm uninstall un import dedupe install-test it",
				"fetch: fetch view info show search outdated audit"),
		},
		{
			programs: []string{"yarn", "yarnpkg"}, ask: yarnRegistry, set: yarnSettings,
			phases: verbs("all: install add up upgrade remove dedupe "+shim.NoVerb, "fetch: info npm outdated audit", "build: "+shim.AnyVerb),
		},
		{programs: []string{"npx", "pnpx", "corepack"}, ask: npmRegistry, set: npmSettings, on: []string{"npm_config_offline=false"}},
		{
			programs: []string{"pip", "pip3"}, ask: pipRegistry, set: pipSettings,
			phases: verbs("all: install", "fetch: download index"),
		},
		{programs: []string{"uv", "uvx"}, set: uvSettings, on: []string{"UV_OFFLINE=0"}},
		{programs: []string{"cargo"}, ask: cargoRegistry, phases: verbs("fetch: fetch update add remove generate-lockfile search info vendor", "build: "+shim.AnyVerb)},
		{
			programs: []string{"go"}, ask: goRegistry, set: func(a string) []string { return []string{"GOPROXY=" + a} },
			phases: verbs("fetch: mod get", "build: "+shim.AnyVerb),
		},
	}
}

// goOnline gives the shim of a program its way to a registry, which said names:
// addresses or rules with commas between them, or askedRegistry.
func goOnline(s *shim.Shim, said, shims string) error {
	list := onlines()
	i := slices.IndexFunc(list, func(o online) bool { return slices.Contains(o.programs, s.Command) })
	if i < 0 {
		var known []string
		for _, o := range list {
			known = append(known, o.programs...)
		}
		return cli.Usagef("--registry knows the ways of %s only; for %s name the host yourself, as in --flag=--allow=HOST:443", strings.Join(known, ", "), s.Command)
	}
	o, reg := list[i], registry{}
	var err error
	switch {
	case said != askedRegistry:
		reg, err = o.named(said)
	case o.ask == nil:
		err = cli.Usagef("--registry: %s can't be asked for its registry; name the hosts, as in --registry=INDEX.EXAMPLE,FILES.EXAMPLE", s.Command)
	default:
		reg, err = o.ask(shims)
	}
	if err != nil {
		return err
	}
	if o.phases == nil && reg.env == nil {
		reg.env = o.on
	}
	var flags []string
	for _, rule := range reg.allow {
		flags = append(flags, "--allow="+rule)
	}
	for _, kv := range reg.env {
		flags = append(flags, "--env="+kv)
	}
	for _, file := range reg.show {
		s.Flags = append([]string{"--volume=" + file}, s.Flags...)
	}
	if o.phases == nil {
		s.Flags = append(flags, s.Flags...)
		return nil
	}
	s.Network, s.Phases = flags, o.phases
	return nil
}

// named is the registry of --registry=LIST. The first address is where the program
// is led to.
func (o *online) named(list string) (registry, error) {
	var reg registry
	for _, one := range strings.Split(list, ",") {
		if !strings.Contains(one, "://") {
			if _, err := profiles.Parse("--registry", []byte("version = 1\nnetwork = { mode = \"user\", allow = ["+fmt.Sprintf("%q", one)+"] }\n"), profiles.Env{}); err != nil {
				return reg, cli.Usagef("--registry: %q is neither an address nor a rule such as HOST:443", one)
			}
			reg.allow = append(reg.allow, one)
			continue
		}
		rule, inside, err := ruleOf(one)
		if err != nil {
			return reg, cli.Usagef("--registry: %v", err)
		}
		reg.allow = append(reg.allow, rule)
		if reg.env == nil && o.set != nil {
			reg.env = o.set(inside)
		}
	}
	return reg, nil
}

// ruleOf is the rule that lets one reach an address of the web, and the address
// as it is inside: what is on the host's loopback has another name there.
func ruleOf(address string) (rule, inside string, err error) {
	at, err := url.Parse(strings.TrimPrefix(address, sparse))
	if err != nil || at.Hostname() == "" || at.Scheme != "https" && at.Scheme != "http" {
		return "", "", fmt.Errorf("%q is no address of the web", address)
	}
	port := cmp.Or(at.Port(), map[string]string{"https": "443", "http": "80"}[at.Scheme])
	if ip, err := netip.ParseAddr(at.Hostname()); at.Hostname() == "localhost" || at.Hostname() == slirp.HostName || err == nil && ip.IsLoopback() {
		at.Host = slirp.HostName + ":" + port
		return "@host:" + port, at.String(), nil
	}
	host := at.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port, address, nil
}

// onLoopback says whether an address inside means the host's loopback.
func onLoopback(inside string) bool {
	at, err := url.Parse(inside)
	return err == nil && at.Hostname() == slirp.HostName
}

// sparse is what cargo writes before the address of an index that is no
// repository of git's.
const sparse = "sparse+"

// answered is what a program answers. Only it knows all places where its settings can
// be.
func answered(shims, program string, args ...string) (string, error) {
	path := cli.FindProgram(nil, program, shims)
	if !filepath.IsAbs(path) { // one that lies where the caller stands is nobody to ask
		return "", fmt.Errorf("there is no %s on PATH that could be asked for its registry; name it, as in --registry=https://REGISTRY", program)
	}
	ask := exec.Command(path, args...)
	// Not where the caller stands: a project's own settings could name a registry
	// of its author's, and the shim is for every project.
	ask.Dir = cmp.Or(profiles.HostEnv().Home, "/")
	out, err := ask.Output()
	if err != nil {
		return "", fmt.Errorf("asking %s for its registry: %w", path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// npmRegistry asks npm.
func npmRegistry(shims string) (registry, error) {
	address, err := answered(shims, "npm", "config", "get", "registry")
	return registryAt("npm", address, npmSettings, err)
}

func npmSettings(address string) []string {
	return []string{"npm_config_registry=" + address, "npm_config_offline=false"}
}

// yarnRegistry asks yarn, of which version 1 has another word for it than later ones.
func yarnRegistry(shims string) (registry, error) {
	address, err := answered(shims, "yarn", "config", "get", "registry")
	if err != nil || !strings.Contains(address, "://") {
		address, err = answered(shims, "yarn", "config", "get", "npmRegistryServer")
	}
	return registryAt("yarn", address, yarnSettings, err)
}

func yarnSettings(address string) []string {
	list := []string{"YARN_REGISTRY=" + address, "YARN_NPM_REGISTRY_SERVER=" + address}
	if onLoopback(address) { // the same
		list = append(list, "YARN_UNSAFE_HTTP_WHITELIST="+slirp.HostName)
	}
	return list
}

// pipRegistry asks pip. One that it was not set to it does not tell.
func pipRegistry(shims string) (registry, error) {
	out, err := answered(shims, "pip", "config", "list")
	if err != nil {
		return registry{}, err
	}
	address := ""
	for line := range strings.Lines(out) { // a later one is stronger: the environment's is last
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasSuffix(key, ".index-url") {
			address = strings.Trim(value, "'\"")
		}
	}
	if address == "" {
		return registry{}, cli.Usagef("--registry: pip has its usual index and does not say which; name the hosts, as in --registry=INDEX.EXAMPLE:443,FILES.EXAMPLE:443")
	}
	return registryAt("pip", address, pipSettings, nil)
}

func pipSettings(address string) []string {
	if onLoopback(address) { // outside pip trusts it without TLS, by its name there
		return []string{"PIP_INDEX_URL=" + address, "PIP_TRUSTED_HOST=" + slirp.HostName}
	}
	return []string{"PIP_INDEX_URL=" + address}
}

// uvSettings are for uv, which has no word that tells its index.
func uvSettings(address string) []string {
	list := []string{"UV_DEFAULT_INDEX=" + address, "UV_OFFLINE=0"}
	if onLoopback(address) {
		list = append(list, "UV_INSECURE_HOST="+slirp.HostName)
	}
	return list
}

// cargoRegistry reads cargo's settings, as cargo has no word that tells them. It
// tells of another registry than its usual one only by that file, so the file is
// shown inside.
func cargoRegistry(string) (registry, error) {
	usual := filepath.Join(profiles.HostEnv().Home, ".cargo")
	file := filepath.Join(cmp.Or(os.Getenv("CARGO_HOME"), usual), "config.toml")
	var settings struct {
		Source map[string]struct {
			Registry    string `toml:"registry"`
			ReplaceWith string `toml:"replace-with"`
		} `toml:"source"`
	}
	if _, err := toml.DecodeFile(file, &settings); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return registry{}, fmt.Errorf("cargo's settings: %s: %w", file, err)
	}
	name := "crates-io"
	for range settings.Source { // one may be replaced by another
		if to := settings.Source[name].ReplaceWith; to != "" {
			name = to
		}
	}
	address := settings.Source[name].Registry
	if address == "" {
		return registry{}, cli.Usagef("--registry: %s names no registry in place of cargo's usual one; name the hosts, as in --registry=INDEX.EXAMPLE:443,FILES.EXAMPLE:443", file)
	}
	rule, inside, err := ruleOf(address)
	switch {
	case err != nil:
		return registry{}, fmt.Errorf("cargo's registry: %s: %w", file, err)
	case onLoopback(inside) && !strings.Contains(address, slirp.HostName):
		return registry{}, cli.Usagef("--registry: cargo's registry is on the loopback, and inside that is the sandbox's own: name it %s in %s", slirp.HostName, file)
	}
	return registry{allow: []string{rule}, show: []string{file + ":" + filepath.Join(usual, "config.toml")}}, nil
}

// registryAt is the registry at an address that a program has answered, unless it
// could not.
func registryAt(program, address string, set func(string) []string, err error) (registry, error) {
	if err != nil {
		return registry{}, err
	}
	rule, inside, err := ruleOf(address)
	if err != nil {
		return registry{}, fmt.Errorf("%s's registry: %w", program, err)
	}
	return registry{allow: []string{rule}, env: set(inside)}, nil
}

// goRegistry asks go for its proxies and its checksum database.
func goRegistry(shims string) (registry, error) {
	out, err := answered(shims, "go", "env", "GOPROXY", "GOSUMDB")
	if err != nil {
		return registry{}, err
	}
	proxies, sums, _ := strings.Cut(out, "\n")
	var reg registry
	var kept []string
	for _, p := range strings.FieldsFunc(proxies, func(r rune) bool { return r == ',' || r == '|' }) {
		if rule, inside, err := ruleOf(p); err == nil { // "direct" would be any host
			reg.allow, kept = append(reg.allow, rule), append(kept, inside)
		}
	}
	if len(kept) == 0 {
		return registry{}, errors.New("go has no proxy that is an address of the web (go env GOPROXY); name one, as in --registry=https://PROXY")
	}
	reg.env = []string{"GOPROXY=" + strings.Join(kept, ",")}
	sums = strings.TrimSpace(sums)
	if sums != "" {
		reg.env = append(reg.env, "GOSUMDB="+sums)
	}
	if words := strings.Fields(sums); len(words) > 0 && words[0] != "off" {
		name, _, _ := strings.Cut(words[len(words)-1], "+")
		if rule, _, err := ruleOf(name); err == nil {
			reg.allow = append(reg.allow, rule)
		} else {
			reg.allow = append(reg.allow, name+":443")
		}
	}
	return reg, nil
}
