package doctor

import (
	"fmt"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// Remedy is a shell script with what an administrator would do about what checks
// found missing or degraded. What is no command stands in it as a comment. install
// is the command that installs packages here, "" where none is known. It is text:
// nothing is run.
func Remedy(checks []Check, install string) string {
	var b strings.Builder
	for _, c := range checks {
		if c.State == CheckOK || c.Fix == "" {
			continue
		}
		fmt.Fprintf(&b, "\n# %s, %s: %s\n", c.Name, c.State, oneLine(c.Why))
		for _, line := range c.commands(install) {
			b.WriteString(line + "\n")
		}
	}
	if b.Len() == 0 {
		return "# nothing is missing\n"
	}
	return "#!/bin/sh\n# Read it, then run it as root; lines that begin with # are for you.\nset -eu\n" + b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// commands are the lines of a fix, those that are no commands as comments.
func (c Check) commands(install string) []string {
	fix := strings.TrimSpace(c.Fix)
	if !c.Admin {
		return []string{"# not for an administrator: " + oneLine(fix)}
	}
	const pkg = "install the package "
	if _, name, ok := strings.Cut(fix, pkg); ok && install != "" && !strings.Contains(name, " ") {
		return []string{install + " " + name}
	}
	head, rest, ok := strings.Cut(fix, "run:")
	if !ok {
		return []string{"# " + oneLine(fix)}
	}
	if path, after, ok := strings.Cut(head, "can write "); ok && strings.Contains(after, "the text below") || strings.Contains(path, "the text below") {
		file, _, _ := strings.Cut(after, " ")
		command, text, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		return []string{"cat >" + file + " <<'END'\n" + strings.TrimSpace(text) + "\nEND", command}
	}
	var out []string
	if said := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(head), "an administrator can")); said != "" {
		out = append(out, "# "+oneLine(strings.TrimSuffix(said, " and")))
	}
	for line := range strings.SplitSeq(strings.TrimSpace(rest), "\n") {
		command, aside, noted := strings.Cut(line, "; in a container")
		switch {
		case strings.HasPrefix(line, "and "):
			out = append(out, "# "+line)
		case strings.TrimSpace(command) != "":
			out = append(out, command)
		}
		if noted {
			out = append(out, "# in a container"+aside)
		}
	}
	return out
}

// Installer is the command that installs packages on this host, "" if none of
// those that are known is there.
func Installer() string {
	for _, m := range []struct{ program, command string }{
		{"apt-get", "apt-get install -y"}, {"dnf", "dnf install -y"}, {"zypper", "zypper install -y"}, {"pacman", "pacman -S --noconfirm"}, {"apk", "apk add"},
	} {
		if host.Program(m.program) != "" {
			return m.command
		}
	}
	return ""
}
