package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The limits of an OCI profile; the largest in use has 800 names in 70 kB.
const (
	maxProfile = 1 << 20
	maxRules   = 4096
	maxNames   = 1 << 15
)

// ociProfile is the seccomp object of the OCI runtime specification
// (config-linux.md, Seccomp) with what moby and podman add to it.
type ociProfile struct {
	DefaultAction    string    `json:"defaultAction"`
	DefaultErrnoRet  *uint     `json:"defaultErrnoRet"`
	DefaultErrno     string    `json:"defaultErrno"` // podman
	Architectures    []string  `json:"architectures"`
	ArchMap          []ociArch `json:"archMap"` // moby
	Flags            []string  `json:"flags"`
	ListenerPath     string    `json:"listenerPath"`
	ListenerMetadata string    `json:"listenerMetadata"`
	Syscalls         []ociRule `json:"syscalls"`
	Comment          string    `json:"comment"`
}

type ociArch struct {
	Architecture     string   `json:"architecture"`
	SubArchitectures []string `json:"subArchitectures"`
}

type ociRule struct {
	Name     string    `json:"name"` // moby's old form
	Names    []string  `json:"names"`
	Action   string    `json:"action"`
	ErrnoRet *uint     `json:"errnoRet"`
	Errno    string    `json:"errno"` // podman
	Args     []ociArg  `json:"args"`
	Comment  string    `json:"comment"`
	Includes ociFilter `json:"includes"` // moby, and the next
	Excludes ociFilter `json:"excludes"`
}

type ociArg struct {
	Index    uint   `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo"`
	Op       string `json:"op"`
}

type ociFilter struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// ParseOCI reads a seccomp profile as Docker, podman and runc take it, for
// programs of one architecture that have the capabilities in caps
// ("CAP_SYS_ADMIN").
//
// It refuses what a Policy cannot say (notifying, tracing, flags, what depends
// on the kernel's version) and what runtimes do not agree on (rules that
// contradict each other, two conditions on one argument). Where it differs, it
// is stricter than runc: an argument that the kernel takes as an int is
// compared as one; a number that is in no table is refused with ENOSYS,
// whatever the default; only the architecture asked for may run, unless the
// caller adds to Arches; SCMP_ACT_KILL kills the process, not the thread. Names
// that no architecture here has are skipped, but not where that would leave a
// call allowed.
func ParseOCI(text []byte, arch Arch, caps []string) (Policy, error) {
	var oci ociProfile
	if err := decode(text, &oci); err != nil {
		return Policy{}, fmt.Errorf("seccomp profile: %w", err)
	}
	p, err := oci.policy(arch, caps)
	if err != nil {
		return Policy{}, fmt.Errorf("seccomp profile: %w", err)
	}
	return p, nil
}

func decode(text []byte, oci *ociProfile) error {
	if len(text) > maxProfile {
		return fmt.Errorf("%d bytes, more than %d", len(text), maxProfile)
	}
	if err := once(text); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(oci); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// once checks that no object has a key twice: decoders differ in which one
// counts. Keys that differ in case only are the same to encoding/json.
func once(text []byte) error {
	const deepest = 8
	d := json.NewDecoder(bytes.NewReader(text))
	var open []map[string]bool // of each array (nil) or object that we are in
	key := false               // a key comes next, or the end of the object
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case json.Delim:
			switch t {
			case '{':
				open = append(open, map[string]bool{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
			if len(open) > deepest {
				return fmt.Errorf("nested deeper than %d", deepest)
			}
		case string:
			if key {
				k := strings.ToLower(t)
				if open[len(open)-1][k] {
					return fmt.Errorf("key %q twice", t)
				}
				open[len(open)-1][k] = true
				key = false
				continue
			}
		}
		key = len(open) > 0 && open[len(open)-1] != nil
	}
}

func (oci *ociProfile) policy(arch Arch, caps []string) (Policy, error) {
	if !arch.known() {
		return Policy{}, errors.New(arch.String())
	}
	if err := oci.inexpressible(arch); err != nil {
		return Policy{}, err
	}
	def, err := ociAction(oci.DefaultAction, oci.DefaultErrnoRet, oci.DefaultErrno)
	if err != nil {
		return Policy{}, fmt.Errorf("defaultAction: %w", err)
	}
	p := Policy{
		Name: "oci", Arches: []Arch{arch},
		Default: def, Unknown: Errno(unix.ENOSYS), Foreign: Kill, X32: Errno(unix.ENOSYS),
	}
	if len(oci.Syscalls) > maxRules {
		return Policy{}, fmt.Errorf("%d rules, more than %d", len(oci.Syscalls), maxRules)
	}
	total := 0
	for i, r := range oci.Syscalls {
		if total += len(r.Names); total > maxNames {
			return Policy{}, fmt.Errorf("more than %d names", maxNames)
		}
		rule, skipped, err := r.rule(arch, caps, def)
		if err != nil {
			return Policy{}, fmt.Errorf("syscalls[%d]: %w", i, err)
		}
		p.Skipped = append(p.Skipped, skipped...)
		if len(rule.Names) > 0 {
			p.Rules = append(p.Rules, rule)
		}
	}
	slices.Sort(p.Skipped)
	p.Skipped = slices.Compact(p.Skipped)
	if err := p.Validate(); err != nil {
		return Policy{}, err
	}
	return p, p.consistent()
}

// ociNames are the names of an architecture: libseccomp's, and that of moby's
// conditions.
func ociNames(a Arch) (scmp, moby string) {
	switch a {
	case AMD64:
		return "SCMP_ARCH_X86_64", "amd64"
	case ARM64:
		return "SCMP_ARCH_AARCH64", "arm64"
	case I386:
		return "SCMP_ARCH_X86", "x86"
	default:
		return "SCMP_ARCH_ARM", "arm"
	}
}

// inexpressible says what of the profile's frame a Policy has no place for.
func (oci *ociProfile) inexpressible(arch Arch) error {
	native, _ := ociNames(arch)
	var listed []string
	listed = append(listed, oci.Architectures...)
	for _, m := range oci.ArchMap {
		listed = append(listed, m.Architecture)
	}
	switch {
	case len(oci.Architectures) > 0 && len(oci.ArchMap) > 0:
		return errors.New("both architectures and archMap")
	case len(listed) > 0 && !slices.Contains(listed, native):
		return fmt.Errorf("%s is not among its architectures", native)
	case oci.ListenerPath != "" || oci.ListenerMetadata != "":
		return errors.New("a listener is not supported")
	}
	for _, f := range oci.Flags {
		if f != "SECCOMP_FILTER_FLAG_TSYNC" { // a sandbox starts with one thread
			return fmt.Errorf("flag %q is not supported", f)
		}
	}
	return nil
}

// rule is r for a process, without names where it does not apply.
func (r ociRule) rule(arch Arch, caps []string, def Action) (Rule, []string, error) {
	apply, err := r.applies(arch, caps)
	if err != nil || !apply {
		return Rule{}, nil, err
	}
	list := r.Names
	if r.Name != "" {
		if len(list) > 0 {
			return Rule{}, nil, errors.New("both name and names")
		}
		list = []string{r.Name}
	}
	if len(list) == 0 {
		return Rule{}, nil, errors.New("it names no call")
	}
	rule := Rule{Why: r.Comment}
	if strings.ContainsFunc(r.Comment, func(c rune) bool { return !strconv.IsPrint(c) }) {
		rule.Why = strconv.Quote(r.Comment) // it is printed on a terminal
	}
	if rule.Action, err = ociAction(r.Action, r.ErrnoRet, r.Errno); err != nil {
		return Rule{}, nil, err
	}
	var skipped []string
	for _, n := range list {
		switch {
		case names()[n]:
			rule.Names = append(rule.Names, n)
		case def.lets():
			return Rule{}, nil, unknownCall(n) // skipping it would allow the call
		default:
			skipped = append(skipped, strings.Trim(strconv.QuoteToASCII(n), `"`))
		}
	}
	if len(rule.Names) == 0 {
		return Rule{}, skipped, nil
	}
	for _, a := range r.Args {
		c, err := a.cond(rule.Names)
		if err != nil {
			return Rule{}, nil, err
		}
		if slices.ContainsFunc(rule.Args, func(o Cond) bool { return o.Index == c.Index }) {
			return Rule{}, nil, fmt.Errorf("two conditions on argument %d: some runtimes ask for both, some for one", c.Index)
		}
		rule.Args = append(rule.Args, c)
	}
	return rule, skipped, nil
}

// applies judges moby's conditions.
func (r ociRule) applies(arch Arch, caps []string) (bool, error) {
	_, name := ociNames(arch)
	in, ex := r.Includes, r.Excludes
	if ex.MinKernel != "" {
		return false, errors.New("excludes.minKernel is not supported: a policy does not depend on the kernel")
	}
	if err := oldEnough(in.MinKernel); err != nil {
		return false, err
	}
	has := func(c string) bool { return slices.Contains(caps, c) }
	switch {
	case slices.Contains(ex.Arches, name), slices.ContainsFunc(ex.Caps, has):
		return false, nil
	case len(in.Arches) > 0 && !slices.Contains(in.Arches, name):
		return false, nil
	}
	return !slices.ContainsFunc(in.Caps, func(c string) bool { return !has(c) }), nil
}

// oldEnough checks that any kernel that runs sandboxes has a version: user
// namespaces with overlays in them, which they need, came with Linux 5.11.
func oldEnough(version string) error {
	if version == "" {
		return nil
	}
	a, b, ok := strings.Cut(version, ".")
	major, err1 := strconv.ParseUint(a, 10, 8)
	minor, err2 := strconv.ParseUint(b, 10, 8)
	switch {
	case !ok || err1 != nil || err2 != nil:
		return fmt.Errorf("minKernel %q: want KERNEL.MAJOR", version)
	case major > 5 || major == 5 && minor > 11:
		return fmt.Errorf("minKernel %q is not supported: a policy does not depend on the kernel, beyond 5.11", version)
	}
	return nil
}

func ociAction(name string, number *uint, errno string) (Action, error) {
	if name != "SCMP_ACT_ERRNO" && number != nil && *number != 0 {
		return 0, fmt.Errorf("an errno with action %q", name)
	}
	switch name {
	case "SCMP_ACT_ALLOW":
		return Allow, nil
	case "SCMP_ACT_LOG":
		return Log, nil
	case "SCMP_ACT_TRAP":
		return Trap, nil
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS":
		return Kill, nil
	case "SCMP_ACT_ERRNO":
	case "":
		return 0, errors.New("no action")
	default:
		return 0, fmt.Errorf("action %q is not supported", name)
	}
	e := unix.EPERM
	if number != nil {
		if *number > maxErrno {
			return 0, fmt.Errorf("errno %d: the largest is %d", *number, maxErrno)
		}
		e = syscall.Errno(*number)
	}
	if errno != "" {
		named := errnoByName(errno)
		if named == 0 || number != nil && e != named {
			return 0, fmt.Errorf("errno %q is unknown, or not the number beside it", errno)
		}
		e = named
	}
	return Errno(e), nil
}

func errnoByName(name string) syscall.Errno {
	for e := syscall.Errno(1); e < 256; e++ {
		if unix.ErrnoName(e) == name {
			return e
		}
	}
	return 0
}

var ociOps = [...]string{
	Eq: "SCMP_CMP_EQ", Ne: "SCMP_CMP_NE", Lt: "SCMP_CMP_LT", Le: "SCMP_CMP_LE",
	Gt: "SCMP_CMP_GT", Ge: "SCMP_CMP_GE", MaskedEq: "SCMP_CMP_MASKED_EQ",
}

// cond is a condition on an argument that has the same width in all calls.
func (a ociArg) cond(calls []string) (Cond, error) {
	op := slices.Index(ociOps[:], a.Op)
	if op < 0 {
		return Cond{}, fmt.Errorf("operator %q is not supported", a.Op)
	}
	if a.Index > 5 {
		return Cond{}, fmt.Errorf("argument %d: a call has six, from 0", a.Index)
	}
	c := Cond{Index: uint8(a.Index), Op: Op(op), Value: a.Value}
	if c.Op == MaskedEq {
		c.Mask, c.Value = a.Value, a.ValueTwo
	} else if a.ValueTwo != 0 {
		return Cond{}, fmt.Errorf("argument %d: valueTwo with %s", a.Index, a.Op)
	}
	for i, call := range calls {
		w, err := Cond{Index: c.Index}.WidthIn(call)
		if err != nil {
			return Cond{}, fmt.Errorf("%s: %w", call, err)
		}
		if i > 0 && w != c.Width {
			return Cond{}, fmt.Errorf("argument %d has %d bits in %s, %d in %s: they need rules of their own", a.Index, c.Width, calls[0], w, call)
		}
		c.Width = w
	}
	if c.Width != Width64 {
		c.Value, c.Mask = narrow(c.Value, c.Width), narrow(c.Mask, c.Width)
	}
	return c, nil // Validate sees what does not fit
}

// narrow makes a negative number of 64 bits, as C writes it, one of w bits.
func narrow(v uint64, w Width) uint64 {
	if high := int64(v) >> (w - 1); high == -1 {
		return v & (1<<w - 1)
	}
	return v
}

// consistent checks that no two rules about a call contradict each other.
// Runtimes answer such a profile differently, by the order in which they put
// the rules.
func (p Policy) consistent() error {
	said := map[string][]Rule{}
	for _, r := range p.Rules {
		for _, n := range r.Names {
			for _, o := range said[n] {
				if o.Action != r.Action && !disjoint(o, r) {
					return fmt.Errorf("%s: one rule says %v, another %v, and the conditions do not exclude each other", n, o.Action, r.Action)
				}
			}
			if !slices.ContainsFunc(said[n], func(o Rule) bool { return len(o.Args) == 0 && o.Action == r.Action }) {
				said[n] = append(said[n], r)
			}
			if len(said[n]) > maxPerCall {
				return fmt.Errorf("%s: more than %d rules", n, maxPerCall)
			}
		}
	}
	return nil
}

// maxPerCall bounds the work of comparing each rule with each.
const maxPerCall = 256

// disjoint reports whether two rules are seen never to hold at once.
func disjoint(a, b Rule) bool {
	for _, x := range a.Args {
		for _, y := range b.Args {
			if x.Index == y.Index && x.Width == y.Width && x.excludes(y) {
				return true
			}
		}
	}
	return false
}

// excludes reports whether no value meets both conditions.
func (c Cond) excludes(o Cond) bool {
	if c.Op == MaskedEq && o.Op == MaskedEq {
		return (c.Value^o.Value)&c.Mask&o.Mask != 0
	}
	if o.Op == Eq {
		c, o = o, c
	}
	if c.Op == Eq {
		return !o.holds(c.Value)
	}
	lo1, hi1, ok1 := c.interval()
	lo2, hi2, ok2 := o.interval()
	return ok1 && ok2 && (hi1 < lo2 || hi2 < lo1 || hi1 < lo1 || hi2 < lo2)
}

// holds reports whether v, cut to c's width, meets c.
func (c Cond) holds(v uint64) bool {
	switch c.Op {
	case Eq:
		return v == c.Value
	case Ne:
		return v != c.Value
	case Lt:
		return v < c.Value
	case Le:
		return v <= c.Value
	case Gt:
		return v > c.Value
	case Ge:
		return v >= c.Value
	default:
		return v&c.Mask == c.Value
	}
}

// interval is the values from lo to hi that meet c; none if hi < lo.
func (c Cond) interval() (lo, hi uint64, ok bool) {
	const most = ^uint64(0)
	switch c.Op {
	case Eq:
		return c.Value, c.Value, true
	case Lt:
		if c.Value == 0 {
			return 1, 0, true
		}
		return 0, c.Value - 1, true
	case Le:
		return 0, c.Value, true
	case Gt:
		if c.Value == most {
			return 1, 0, true
		}
		return c.Value + 1, most, true
	case Ge:
		return c.Value, most, true
	default:
		return 0, 0, false
	}
}
