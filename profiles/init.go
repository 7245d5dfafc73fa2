package profiles

import (
	"fmt"
	"strings"
)

// starter is a new profile; the built-in's name goes into it twice.
const starter = `# A profile for sbx. It builds on the built-in profile %[1]q:
#   sbx profile show builtin:%[1]s
# Run something in it with: sbx run -- COMMAND
version = 1
extends = ["builtin:%[1]s"]
# description = "what this profile is for"

# [process]
# command = ["make", "test"]  # what sbx run starts if no command is given
# timeout = "30m"

# [environment]
# pass = ["MY_SETTING"]       # variables taken over from your shell
# set = { LANG = "C.UTF-8" }

# [home]                      # empty and in memory, gone afterwards
# mode = "persistent"         # keep it for the next run
# share = ["~/.gitconfig"]    # files of your own home, read-only

# [workspace]                 # this directory
# access = "ro"
# hide = [".env"]             # files that nothing inside can read

# [mounts]                    # more directories; read-only unless written otherwise
# "/data" = "~/data"
# "/var/cache/results" = "./results:rw"

# [network]
# mode = "host"

# [limits]
# memory = "4G"
# processes = 512
`

// Init returns a commented profile to start from. kind is the name of the
// built-in profile it builds on, "" for the default.
func Init(kind string) ([]byte, error) {
	if kind == "" {
		kind = "build"
	}
	if findBuiltin(kind) == nil {
		return nil, fmt.Errorf("no built-in profile %q%s, use one of %s", kind, hint(kind, builtinNames()), strings.Join(builtinNames(), ", "))
	}
	return fmt.Appendf(nil, starter, kind), nil
}
