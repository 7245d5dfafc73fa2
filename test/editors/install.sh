#!/bin/sh
# Installs the language servers that the distribution has none of, in the versions
# that test/editors is tried with, vsce, and the package managers of
# test/projects. Without them those tests are skipped.
set -e
cache=${SBX_TEST_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sbx-test}
mkdir -p "$cache/npm" "$cache/vsce" "$cache/bin"
GOBIN=$cache/bin go install golang.org/x/tools/gopls@v0.21.1
npm install --prefix "$cache/npm" --no-audit --no-fund --ignore-scripts \
    bash-language-server@5.6.0 typescript-language-server@4.4.1 typescript@5.9.3
npm install --prefix "$cache/vsce" --no-audit --no-fund --ignore-scripts @vscode/vsce@3.2.2
npm install --prefix "$cache/managers" --no-audit --no-fund --ignore-scripts pnpm@10.34.9 yarn@1.22.22
npm install --prefix "$cache/yarn" --no-audit --no-fund --ignore-scripts @yarnpkg/cli-dist@4.18.1
