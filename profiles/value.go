package profiles

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is the value of one key: s for texts, n for numbers, booleans (0, 1),
// sizes in bytes and durations in nanoseconds, l for lists. It has no pointers
// to types, so that built-in profiles are plain data in the binary.
type value struct {
	s string
	n int64
	l []string
}

// setting is one key that a file sets. sub is the mount's target for a key of
// a mount, and the variable's name for environment.set.
type setting struct {
	key string // a row's path
	sub string
	val value
}

// typeName names the type of a decoded TOML value with its article.
func typeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	}
	return fmt.Sprintf("%T", v)
}

// scalar decodes v as r's kind, which is not a list or table.
func (r *row) scalar(v any) (value, string) {
	switch r.kind {
	case kindBool:
		b, ok := v.(bool)
		if !ok {
			return value{}, "must be true or false, not " + typeName(v)
		}
		if b {
			return value{n: 1}, ""
		}
		return value{}, ""
	case kindInt:
		return r.integer(v)
	case kindSize:
		return r.size(v)
	case kindDuration:
		return r.duration(v)
	case kindOctal:
		return r.octal(v)
	case kindThousandths:
		return r.thousandths(v)
	}
	s, ok := v.(string)
	if !ok {
		return value{}, "must be a string, not " + typeName(v)
	}
	if r.kind == kindEnum && !slices.Contains(r.enum, s) {
		return r.checkNamed(s)
	}
	return value{s: s}, r.checkText(s)
}

// nameRule is what a name looks like.
const nameRule = `use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit`

// checkNamed checks what is no word of r's: one that is followed by a name, or by
// several with commas between them.
func (r *row) checkNamed(s string) (value, string) {
	word, names, ok := strings.Cut(s, ":")
	if !ok || !slices.Contains(r.named, word) {
		words := slices.Clone(r.enum)
		for _, w := range r.named {
			words = append(words, w+":NAME")
		}
		return value{}, fmt.Sprintf("unknown value %q, use %s%s", s, either(words), hint(s, r.enum))
	}
	list := []string{names}
	if word == "network" {
		list = strings.Split(names, ",")
	}
	for i, name := range list {
		switch {
		case !validName(name):
			return value{}, fmt.Sprintf("%q names no %s: %s", s, word, nameRule)
		case slices.Contains(list[:i], name):
			return value{}, fmt.Sprintf("%q names %s twice", s, name)
		}
	}
	return value{s: s}, ""
}

func (r *row) integer(v any) (value, string) {
	if r.unlimited && v == "unlimited" {
		return value{n: -1}, ""
	}
	n, ok := v.(int64)
	if !ok {
		return value{}, "must be an integer, not " + typeName(v)
	}
	return value{n: n}, r.checkRange(n)
}

func (r *row) checkRange(n int64) string {
	if r.unlimited && n == -1 {
		return ""
	}
	low := strconv.FormatInt(r.min, 10)
	switch {
	case n < r.min && r.unlimited:
		return fmt.Sprintf("%d is out of range, use %s or more, or \"unlimited\"", n, low)
	case r.path == "version" && n != 1:
		return fmt.Sprintf("version %d is not known to this sbx, write version = 1", n)
	case n < r.min && r.max == 0:
		return fmt.Sprintf("%d is out of range, use %s or more", n, low)
	case n < r.min || r.max != 0 && n > r.max:
		return fmt.Sprintf("%d is out of range, use %s to %d", n, low, r.max)
	}
	return ""
}

func (r *row) size(v any) (value, string) {
	switch v := v.(type) {
	case int64:
		return value{n: v}, r.checkRange(v)
	case string:
		if r.unlimited && v == "unlimited" {
			return value{n: -1}, ""
		}
		n, ok := parseSize(v)
		if !ok {
			return value{}, fmt.Sprintf(`%q is not a size, use bytes or a unit such as "64M" or "1G"`, v)
		}
		return value{n: n}, r.checkRange(n)
	}
	return value{}, `must be a size such as "64M", not ` + typeName(v)
}

// parseSize reads a number with a unit K, M, G or T, powers of 1024;
// "KiB" and "KB" mean the same as "K", in either case.
func parseSize(text string) (int64, bool) {
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(text[:end], 10, 64)
	if err != nil {
		return 0, false
	}
	shift := 0
	switch strings.ToUpper(strings.TrimPrefix(text[end:], " ")) {
	case "", "B":
	case "K", "KB", "KIB":
		shift = 10
	case "M", "MB", "MIB":
		shift = 20
	case "G", "GB", "GIB":
		shift = 30
	case "T", "TB", "TIB":
		shift = 40
	default:
		return 0, false
	}
	if n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}

// formatSize writes n with the largest unit that divides it.
func formatSize(n int64) string {
	if n == 0 {
		return "0"
	}
	unit := 0
	for unit < 4 && n%1024 == 0 {
		n /= 1024
		unit++
	}
	if unit == 0 {
		return strconv.FormatInt(n, 10)
	}
	return quote(strconv.FormatInt(n, 10) + "KMGT"[unit-1:unit])
}

func (r *row) duration(v any) (value, string) {
	if r.unlimited && (v == "unlimited" || v == int64(-1)) {
		return value{n: -1}, ""
	}
	if v == int64(0) {
		return value{}, ""
	}
	if n, ok := v.(int64); ok && n < 0 && r.min == 0 {
		return value{}, fmt.Sprintf("%d is negative, use 0 or more", n)
	}
	s, ok := v.(string)
	if !ok {
		return value{}, `must be a duration such as "10s", not ` + typeName(v)
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return value{}, fmt.Sprintf(`%q is not a duration, use a number with a unit such as "10s" or "1h30m"`, s)
	case d < 0 && r.min == 0:
		return value{}, fmt.Sprintf("%q is negative, use 0 or more", s)
	}
	return value{n: int64(d)}, ""
}

// thousandths reads an integer, a float, or either as a string.
func (r *row) thousandths(v any) (value, string) {
	var text string
	switch v := v.(type) {
	case int64:
		text = strconv.FormatInt(v, 10)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	case string:
		text = v
	default:
		return value{}, "must be a number such as 1.5, not " + typeName(v)
	}
	if r.unlimited && (text == "unlimited" || text == "-1") {
		return value{n: -1}, ""
	}
	n, ok := parseThousandths(text)
	switch {
	case !ok:
		return value{}, fmt.Sprintf("%q is not a number such as 1.5, with up to three decimals", text)
	case n != 0 && n < r.min:
		return value{}, fmt.Sprintf("%s is out of range, use %s or more, or 0", text, formatThousandths(r.min))
	}
	return value{n: n}, ""
}

func parseThousandths(text string) (int64, bool) {
	whole, part, _ := strings.Cut(text, ".")
	if len(part) > 3 || whole == "" || strings.Trim(whole+part, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+(part + "000")[:3], 10, 64)
	return n, err == nil
}

// formatThousandths writes n without needless decimals.
func formatThousandths(n int64) string {
	text := fmt.Sprintf("%d.%03d", n/1000, n%1000)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

func (r *row) octal(v any) (value, string) {
	s, ok := v.(string)
	if !ok {
		return value{}, `must be a string of octal digits such as "0755", not ` + typeName(v)
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return value{}, fmt.Sprintf(`%q is not an octal number, use digits 0 to 7 as in "0755"`, s)
	}
	if int64(n) > r.max {
		return value{}, fmt.Sprintf("%q is out of range, use at most \"%04o\"", s, r.max)
	}
	return value{n: int64(n)}, ""
}

// checkText returns what is wrong with one text of r, "" if nothing. What
// depends on variables is checked after they are expanded.
func (r *row) checkText(s string) string {
	if strings.IndexByte(s, 0) >= 0 && r.path != "mounts.*.content" {
		return "contains a NUL byte"
	}
	if r.vars && !(r.path == "process.command" && s == ArgsEntry) { // it has a meaning in a phase, see expand
		if _, problem := expand(s, knownVariable); problem != "" {
			return problem
		}
	}
	if r.kind == kindIDMap {
		_, problem := parseIDMap(s)
		return problem
	}
	switch r.form {
	case formName, formAnyName, formHostname, formSignal, formEnvGlob, formFeature, formCall:
		return checkNameText(r.form, s)
	case formTreeGlob:
		return checkTreeGlob(s)
	case formRoot:
		return checkRoot(s)
	case formPolicy:
		if !isPathText(s) && !slices.Contains(policies, s) {
			return fmt.Sprintf("unknown policy %q, use %s or a file such as \"./seccomp.json\"%s", s, either(policies), hint(s, policies))
		}
	case formCPUs:
		if _, ok := parseCPUs(s); !ok {
			return fmt.Sprintf("%q is not a list of processors, write for example \"0-3,8\"", s)
		}
	case formByteRate:
		if _, _, ok := Rate(s); !ok {
			return fmt.Sprintf("%q is not a rate, write PATH:SIZE as in \"/dev/sda:10M\"", s)
		}
	case formRate:
		if _, n, ok := Rate(s); !ok || !strings.HasSuffix(s, ":"+strconv.FormatUint(n, 10)) {
			return fmt.Sprintf("%q is not a rate, write PATH:N as in \"/dev/sda:100\"", s)
		}
	case formHomePath, formHomeGlob:
		if s == "" {
			return "must not be empty, name a path in the home directory"
		}
	case formExtends:
		return checkExtends(s)
	case formSecret:
		return checkSecret(s)
	case formSecretSource:
		return checkSecretSource(s)
	case formRule, formPublish, formHostPort, formServer, formHost, formDomain, formMember:
		return checkNetworkText(r.form, s)
	}
	return ""
}

// checkNameText returns what is wrong with a name of something, "" if nothing.
func checkNameText(f form, s string) string {
	switch f {
	case formName, formAnyName:
		if (s != "" || f == formName) && !validName(s) {
			return fmt.Sprintf("%q is not a name, %s", s, nameRule)
		}
	case formHostname:
		if s != "" && !validHostname(s) {
			return fmt.Sprintf("%q is not a host name, use up to 64 letters, digits, \"-\" and \".\"", s)
		}
	case formSignal:
		if !slices.Contains(signals, s) {
			return fmt.Sprintf("unknown signal %q%s", s, signalHint(s))
		}
	case formEnvGlob:
		if !validEnvName(s, "*?") {
			return fmt.Sprintf("%q is not a variable's name, use letters, digits, \"_\", and * or ? as wildcards", s)
		}
	case formFeature:
		if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
			return fmt.Sprintf("%q is not a feature's name, see sbx doctor for the names", s)
		}
	case formCall:
		if !validCall(s) {
			return fmt.Sprintf("%q is neither a system call's name nor a group's, write for example \"ptrace\" or \"@debug\"", s)
		}
	}
	return ""
}

// checkRoot returns what is wrong with a root.source, "" if nothing.
func checkRoot(s string) string {
	if name, ok := ImageName(s); ok {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Sprintf("%q names no image, write for example \"image:debian:12\"", s)
		}
		return ""
	}
	if !isPathText(s) && s != "host" && s != "empty" {
		return fmt.Sprintf("unknown root %q, use \"host\", \"empty\", an image such as \"image:debian:12\" or a directory such as \"/srv/root\"%s", s, hint(s, []string{"host", "empty"}))
	}
	return ""
}

// Rate takes an entry of the keys limits.io_* apart: a path, and bytes or
// operations a second.
func Rate(s string) (path string, n uint64, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || !strings.HasPrefix(s, "/") {
		return "", 0, false
	}
	size, ok := parseSize(s[i+1:])
	return s[:i], uint64(size), ok && size > 0
}

// maxCPU is more than the numbers of processors: the largest that Linux can be
// built for.
const maxCPU = 8192

// parseCPUs reads a list of processors such as "0-3,8"; "" is none.
func parseCPUs(s string) (set [maxCPU]bool, ok bool) {
	if s == "" {
		return set, true
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil || from > to || to >= maxCPU {
			return set, false
		}
		for n := from; n <= to; n++ {
			set[n] = true
		}
	}
	return set, true
}

// validCall reports whether s may name a system call or a group of them; which
// there are is for sandbox/seccomp to say.
func validCall(s string) bool {
	name, group := strings.CutPrefix(s, "@")
	digits := "0123456789_"
	if group {
		digits = "-"
	}
	if name == "" || strings.IndexByte("0123456789-", name[0]) >= 0 {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz"+digits) == ""
}

// isPathText reports whether s looks like a path and not like a word.
func isPathText(s string) bool {
	return strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") ||
		strings.HasPrefix(s, "~") || strings.HasPrefix(s, "$") || s == "." || s == ".."
}

func checkExtends(s string) string {
	if name, ok := strings.CutPrefix(s, "builtin:"); ok {
		if _, ok := Source(name); !ok {
			return fmt.Sprintf("no built-in profile %q%s", name, hint(name, builtinNames()))
		}
		return ""
	}
	if name, ok := strings.CutPrefix(s, "user:"); ok {
		if !validName(name) {
			return fmt.Sprintf("%q is not the name of a profile", name)
		}
		return ""
	}
	if !isPathText(s) {
		ref := s
		if !validName(s) {
			ref = "NAME"
		}
		return fmt.Sprintf("%q is neither a path nor a name with its place, write \"./%s\", \"builtin:%s\" or \"user:%s\"", s, s, ref, ref)
	}
	_, problem := expand(s, knownVariable)
	return problem
}

func checkTreeGlob(s string) string {
	switch {
	case s == "":
		return "must not be empty, name a file below the workspace"
	case s[0] == '/' || s[0] == '~':
		return fmt.Sprintf("%q must be below the workspace, write it without the leading %q", s, s[:1])
	case slices.Contains(strings.Split(s, "/"), ".."):
		return fmt.Sprintf("%q must stay below the workspace, leave out \"..\"", s)
	}
	return ""
}

// isWord reports whether c may stand in a name: an ASCII letter, digit, or one
// of extra.
func isWord(c byte, extra string) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(extra, c) >= 0
}

func validName(s string) bool {
	if s == "" || len(s) > 64 || !isWord(s[0], "") {
		return false
	}
	for i := range len(s) {
		if !isWord(s[i], "._-") {
			return false
		}
	}
	return true
}

// validHostname follows hostname(7), with the 64 bytes of sethostname(2).
func validHostname(s string) bool {
	if len(s) > 64 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !isWord(label[i], "-") {
				return false
			}
		}
	}
	return true
}

// validEnvName accepts the portable names of POSIX, XBD 8.1, and wildcards.
func validEnvName(s, wildcards string) bool {
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if !isWord(s[i], "_"+wildcards) {
			return false
		}
	}
	return true
}

// parseIDMap reads "inside:outside:count".
func parseIDMap(s string) (IDMap, string) {
	parts := strings.Split(s, ":")
	var n [3]uint32
	if len(parts) != 3 {
		return IDMap{}, fmt.Sprintf(`%q is not an id map, write "inside:outside:count" as in "0:100000:65536"`, s)
	}
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return IDMap{}, fmt.Sprintf(`%q is not an id map, write "inside:outside:count" as in "0:100000:65536"`, s)
		}
		n[i] = uint32(v)
	}
	m := IDMap{Inside: n[0], Outside: n[1], Count: n[2]}
	switch {
	case m.Count == 0:
		return IDMap{}, fmt.Sprintf("%q maps no id, use a count of 1 or more", s)
	case uint64(m.Inside)+uint64(m.Count) > math.MaxUint32 || uint64(m.Outside)+uint64(m.Count) > math.MaxUint32:
		return IDMap{}, fmt.Sprintf("%q goes beyond the largest id, 4294967294", s)
	}
	return m, ""
}

// signals are the names of signal(7) that can end a process.
var signals = []string{
	"SIGABRT", "SIGALRM", "SIGCONT", "SIGHUP", "SIGINT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT",
	"SIGSTKFLT", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
}

func signalHint(s string) string {
	up := strings.ToUpper(s)
	if !strings.HasPrefix(up, "SIG") {
		up = "SIG" + up
	}
	if slices.Contains(signals, up) {
		return fmt.Sprintf(" (did you mean %q?)", up)
	}
	if near := nearest(up, signals); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return `, use a name such as "SIGTERM"`
}

// quote writes s as a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// join appends part to a dotted key, quoting it if it is not a bare key.
func join(prefix, part string) string {
	bare := part != ""
	for i := range len(part) {
		bare = bare && isWord(part[i], "_-")
	}
	if !bare {
		part = quote(part)
	}
	if prefix == "" {
		return part
	}
	return prefix + "." + part
}

// id is the dotted key of a setting as a file would write it.
func (r *row) id(sub string) string {
	switch {
	case r.isMount():
		return join("mounts", sub) + "." + r.leaf()
	case r.kind == kindMap && sub != "":
		return join(r.path, sub)
	}
	return r.path
}

// ParseSize reads a size as a profile's keys take it: bytes, or a number with a
// unit such as 64M.
func ParseSize(text string) (int64, error) {
	n, ok := parseSize(text)
	if !ok {
		return 0, fmt.Errorf(`%q is not a size, use bytes or a unit such as "64M" or "1G"`, text)
	}
	return n, nil
}
