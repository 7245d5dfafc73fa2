#!/bin/sh
# What `make demo` runs inside the sandbox: it builds the project, and shows
# what can be seen from in there.
set -eu
echo "user:        $(id -un) (uid $(id -u)), capabilities $(sed -n 's/^CapEff:\t//p' /proc/self/status)"
echo "home:        $HOME holds: $(ls -A "$HOME" | tr '\n' ' ')"
echo "workspace:   $PWD"
echo "network:     $(sed -n 's/^ *\([a-z0-9]*\):.*/\1/p' /proc/net/dev | tr '\n' ' ')"
echo "processes:   $(ls -d /proc/[0-9]* | wc -l), PID 1 is $(cat /proc/1/comm)"
echo "ssh keys:    $(ls "$HOME/.ssh" 2>&1 | head -1)"
echo "building:    go build ./cmd/sbx"
go build -buildvcs=false -o /dev/null ./cmd/sbx
echo "built."
