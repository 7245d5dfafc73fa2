package image

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Change is one change to an image's configuration, as an instruction of a
// Dockerfile says it.
type Change struct {
	Key   string      // the instruction, in capitals
	Args  []string    // its words; of CMD and ENTRYPOINT the argument vector
	Pairs [][2]string // of ENV and LABEL: names and values
}

// instructions are those that a Change may be, in the order of help.
var instructions = []string{"CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}

// ParseChange reads an instruction, as docker commit's --change takes it:
// `CMD ["tool", "-v"]`, `ENV COLOUR=blue`, `USER app`.
func ParseChange(text string) (c Change, err error) {
	word, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	c.Key, rest = strings.ToUpper(word), strings.TrimSpace(rest)
	known := false
	for _, i := range instructions {
		known = known || i == c.Key
	}
	switch {
	case !known:
		return c, fmt.Errorf("%q is no change to an image's configuration, use one of %s", word, strings.Join(instructions, ", "))
	case rest == "":
		return c, fmt.Errorf("%s of what? Write for example %s", c.Key, example(c.Key))
	case strings.ContainsAny(text, "\x00\n"):
		return c, fmt.Errorf("%s: a change is one line of text", c.Key)
	}
	switch c.Key {
	case "CMD", "ENTRYPOINT":
		if c.Args, err = vector(rest); c.Args == nil && err == nil {
			c.Args = []string{"/bin/sh", "-c", rest}
		}
	case "VOLUME":
		if c.Args, err = vector(rest); c.Args == nil && err == nil {
			c.Args, err = words(rest)
		}
	case "ENV", "LABEL":
		c.Pairs, err = pairs(rest)
	case "EXPOSE":
		c.Args, err = words(rest)
	default:
		c.Args = []string{rest}
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w; write for example %s", c.Key, err, example(c.Key))
	}
	return c, nil
}

func example(key string) string {
	return map[string]string{
		"CMD": `CMD ["tool", "-v"]`, "ENTRYPOINT": `ENTRYPOINT ["tool"]`, "ENV": "ENV NAME=VALUE", "EXPOSE": "EXPOSE 8080/tcp", "LABEL": "LABEL NAME=VALUE",
		"ONBUILD": "ONBUILD RUN make", "STOPSIGNAL": "STOPSIGNAL SIGINT", "USER": "USER app:users", "VOLUME": "VOLUME /data", "WORKDIR": "WORKDIR /srv",
	}[key]
}

// check judges what only some instructions may say.
func (c *Change) check() error {
	switch c.Key {
	case "WORKDIR":
		if !path.IsAbs(c.Args[0]) {
			return fmt.Errorf("%q is not an absolute path", c.Args[0])
		}
	case "USER", "STOPSIGNAL":
		if strings.ContainsAny(c.Args[0], " \t") {
			return fmt.Errorf("%q is not one word", c.Args[0])
		}
	case "VOLUME":
		for _, v := range c.Args {
			if !path.IsAbs(v) {
				return fmt.Errorf("%q is not an absolute path", v)
			}
		}
	case "EXPOSE":
		for _, p := range c.Args {
			number, protocol, _ := strings.Cut(p, "/")
			if number == "" || len(number) > 5 || strings.Trim(number, "0123456789") != "" || protocol != "" && protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
				return fmt.Errorf("%q is no port", p)
			}
		}
	case "CMD", "ENTRYPOINT":
		if len(c.Args) > 0 && c.Args[0] == "" {
			return fmt.Errorf("the command's name is empty")
		}
	}
	return nil
}

// vector is an argument vector in brackets; nil if text does not begin with one.
func vector(text string) ([]string, error) {
	if !strings.HasPrefix(text, "[") {
		return nil, nil
	}
	list := []string{}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("%s is no list of texts in double quotes", text)
	}
	return list, nil
}

// pairs are names with values: NAME=VALUE, any number of them, or NAME and the
// rest of the line.
func pairs(text string) ([][2]string, error) {
	first, rest, _ := strings.Cut(text, " ")
	if !strings.Contains(first, "=") {
		if first == "" || strings.TrimSpace(rest) == "" {
			return nil, fmt.Errorf("%q has no value", first)
		}
		return [][2]string{{first, strings.TrimSpace(rest)}}, nil
	}
	list, err := words(text)
	if err != nil {
		return nil, err
	}
	var out [][2]string
	for _, w := range list {
		name, value, ok := strings.Cut(w, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is not NAME=VALUE", w)
		}
		out = append(out, [2]string{name, value})
	}
	return out, nil
}

// words splits at blanks that are neither in quotes nor after a backslash.
func words(text string) ([]string, error) {
	var list []string
	var b strings.Builder
	quote, in := byte(0), false
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; {
		case ch == '\\' && quote != '\'' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
			in = true
		case quote != 0 && ch == quote:
			quote = 0
		case quote == 0 && (ch == '"' || ch == '\''):
			quote, in = ch, true
		case quote == 0 && (ch == ' ' || ch == '\t'):
			if in {
				list = append(list, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteByte(ch)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote in %s is not closed", text)
	}
	if in {
		list = append(list, b.String())
	}
	return list, nil
}
