# Needs Go, gcc, make and git; make test says what else it would use.

PREFIX     ?= /usr/local
DESTDIR    ?=
ARGS       ?= help
FUZZTIME   ?= 10m
BENCHFLAGS ?=

bindir     = $(PREFIX)/bin
libexecdir = $(PREFIX)/libexec/sbx
datadir    = $(PREFIX)/share
mandir     = $(datadir)/man

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
VERSION_VAR  = main.version
LDFLAGS      = -s -w -X '$(VERSION_VAR)=$(VERSION)'
# sbx starts its child before the Go runtime: sandbox/run/internal/child/entry_*.s.
ENTRY        = -E=sbx_entry

# README's first command: sbx builds its own checkout in a sandbox, with the
# module cache that built sbx itself, read-only, wherever that is.
MODCACHE = $(shell $(GO) env GOMODCACHE)
DEMO = bin/sbx run -v "$(MODCACHE)" -e GOMODCACHE="$(MODCACHE)" go -- sh test/demo.sh

export CGO_ENABLED = 0

.DEFAULT_GOAL = help
.PHONY: help build run test faults escape test-arm64 test-vm bench lint install dist demo fuzz clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

# The linker writes through a mapping, which leaves the file in the page cache in
# small pieces: every start takes a tenth longer than from a copy of it.
build: ## build every command into bin/
	@mkdir -p bin/.linked
	$(GO) build -trimpath -buildvcs=false -ldflags "$(LDFLAGS) $(ENTRY)" -o bin/.linked/ ./cmd/sbx
	$(GO) build -trimpath -buildvcs=false -ldflags "$(LDFLAGS)" -o bin/.linked/ $(filter-out ./cmd/sbx,$(wildcard ./cmd/*))
	@cd bin/.linked && for f in *; do cp "$$f" "../.$$f" && mv "../.$$f" "../$$f"; done
	@rm -rf bin/.linked

run: build ## run bin/sbx with ARGS='...'
	bin/sbx $(ARGS)

test: ## the whole suite; as root in an account of its own (SBX_MUST_WORK=1: no skips)
	@test/run.sh

faults: ## every fault: each operation fails, each process dies at each call (SBX_FAULT_RUNS=200)
	@test/run.sh faults

escape: ## each attack of the table on sbx, and on bwrap, firejail and podman where they are
	@test/run.sh escape

test-arm64: ## sbx and its tests on an emulated arm64 machine; as root, on Debian
	@test/arm64/run.sh

test-vm: ## limits, and what meets them, in a guest with systemd and cgroup v2; from nothing as root, on Debian
	@test/vm/run.sh

bench: build ## start-up, throughput, memory and orphans beside the peers (BENCHFLAGS='...')

lint: ## gofmt, vet, staticcheck, go mod tidy, shell syntax, and our own bans
	@test/lint.sh
	$(GO) test -count=1 ./test/lint ./test/archtest ./test/deptest

install: build ## install under PREFIX (/usr/local), below DESTDIR
	install -d '$(DESTDIR)$(bindir)'
	install -m 755 bin/sbx '$(DESTDIR)$(bindir)/sbx'
	ln -sf sbx '$(DESTDIR)$(bindir)/sbx-sh'
	@set -e; for f in bin/sbx-*; do \
		[ ! -f "$$f" ] || install -v -D -m 755 "$$f" '$(DESTDIR)$(libexecdir)'/"$${f##*/}"; \
	done; \
	put() { [ ! -f "$$1" ] || install -v -D -m 644 "$$1" "$$2"; }; \
	put completions/sbx.bash '$(DESTDIR)$(datadir)/bash-completion/completions/sbx'; \
	put completions/_sbx '$(DESTDIR)$(datadir)/zsh/site-functions/_sbx'; \
	put completions/sbx.fish '$(DESTDIR)$(datadir)/fish/vendor_completions.d/sbx.fish'; \
	for page in docs/man/*.[1-9]; do put "$$page" '$(DESTDIR)$(mandir)'/man"$${page##*.}/$${page##*/}"; done

dist: ## packages below dist/: .deb, .rpm and a tarball
	@rm -rf dist; $(MAKE) -s install DESTDIR='$(CURDIR)/dist/stage' PREFIX=/usr >/dev/null
	@tools/dist/dist.sh dist/stage dist; rm -rf dist/stage

demo: build ## build sbx's own checkout inside a sandbox
	@$(GO) list -deps ./... >/dev/null # has go get what building it takes: inside is no network
	$(DEMO)

fuzz: ## each fuzz target for FUZZTIME (10m)
	@test/fuzz.sh $(FUZZTIME)

clean: ## remove what make built
	rm -rf bin

include bench/bench.mk
