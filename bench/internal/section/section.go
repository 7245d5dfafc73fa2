// Package section keeps parts of a text in Markdown apart that different programs
// write.
package section

import (
	"os"
	"strings"
)

// Networks begins the headings of what bench/net writes, at the end of the file.
const Networks = "## Networks"

// Layers is the heading of what bench/layers writes.
const Layers = "## Work on files in overlays"

// Tail is what a file has from the first heading on that begins with one of starts, ""
// if there is none, or no file.
func Tail(path string, starts ...string) (tail string, err error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return "", nil
	}
	for _, start := range starts {
		if _, rest := split(string(b), start); len(rest) > len(tail) {
			tail = rest
		}
	}
	return tail, err
}

// Replace puts text in the place of the section of a file that has the heading, or at
// its end.
func Replace(path, heading, text string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, tail := split(string(b), heading+"\n")
	after := ""
	if tail != "" {
		_, after = split(tail[len(heading):], "## ")
	}
	return os.WriteFile(path, []byte(strings.TrimRight(before, "\n")+"\n\n"+heading+"\n\n"+strings.TrimSpace(text)+"\n"+pad(after)), 0o644)
}

// split parts a text before a line that begins with start.
func split(text, start string) (before, tail string) {
	i := strings.Index("\n"+text, "\n"+start)
	if i < 0 {
		return text, ""
	}
	return text[:i], text[i:]
}

func pad(after string) string {
	if after == "" {
		return ""
	}
	return "\n" + after
}
