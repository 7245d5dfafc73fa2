# The benchmarks: included by the Makefile of the tree.
#
#   make bench                        one table on the terminal
#   make bench BENCHFLAGS='-quick'    the same in a fraction of the time
#   make bench BENCHFLAGS='-write'    and docs/BENCHMARKS.md
#   make bench-orphans                the orphan gate
#   make bench-exec                   a command in a sandbox that is up beside bwrap anew for each; fails above 0.5
#   make bench-image                  a start on an image of five layers beside one on a directory; fails above 1.3
#   make bench-layers                 work on files: bare, sbx's overlays, by hand, podman's (BENCHFLAGS='-only untar')
#   make bench-scope                  what a control group costs a start, in test/vm/fast.sh; as root
#   make bench-net                    networks side by side: the engine, slirp4netns, pasta, rootlesskit (BENCHFLAGS='-6 -write': by IPv6, and docs/BENCHMARKS.md)
#   make bench-seccomp                what the system call filter costs a call; fails above 1.3
#   make bench-changes                sbx diff on 200,000 files beside git status and rsync -n; fails above 0.3 s of user time
#
# As root name the unprivileged account that runs the sandboxes: BENCHFLAGS='-user NAME'.

BENCHBIN = bin/bench
BENCHCC ?= gcc
BENCHC   = $(BENCHCC) -O2 -Wall -Wextra -static -nostdlib -ffreestanding -fno-pic -no-pie \
	-fno-stack-protector -fno-asynchronous-unwind-tables \
	-Wl,--build-id=none -Wl,-z,norelro -Wl,-z,noseparate-code -s
BENCHGO  = $(addprefix $(BENCHBIN)/,pair memory orphans calls net changes layers all)
BENCHASM = $(addprefix $(BENCHBIN)/,true0 idle0 mark0)
ifeq ($(shell uname -m),x86_64) # elsewhere these two candidates are listed as not run
BENCHC   += -fcf-protection=none
BENCHASM += $(addprefix $(BENCHBIN)/,floor idmap)
endif

.PHONY: bench bench-exec bench-image bench-layers bench-scope bench-orphans bench-net bench-seccomp bench-changes bench-tools bench-clean FORCE

bench: build bench-tools
	$(BENCHBIN)/all $(BENCHFLAGS)

bench-orphans: build bench-tools
	$(BENCHBIN)/orphans $(BENCHFLAGS)

bench-seccomp: build $(BENCHBIN)/calls
	$(BENCHBIN)/calls -max 1.3 $(BENCHFLAGS)

bench-exec: build bench-tools
	bench/exec/run.sh $(BENCHBIN)/pair bin/sbx $(BENCHFLAGS)

bench-image: build bench-tools
	bench/image/run.sh $(BENCHBIN)/pair bin/sbx $(BENCHFLAGS)

bench-layers: build $(BENCHBIN)/layers
	$(BENCHBIN)/layers $(BENCHFLAGS)

bench-net: build $(BENCHBIN)/net $(BENCHBIN)/mark0
	$(BENCHBIN)/net $(BENCHFLAGS)

# In a systemd of its own: whoever calls this seldom has one that can be counted on.
bench-scope: build bench-tools
	test/vm/fast.sh up
	test/vm/fast.sh put bin/sbx bin/sbx-scope $(BENCHBIN) bench/scope/run.sh /opt/sbx
	test/vm/fast.sh run 'sh /opt/sbx/run.sh /opt/sbx/bench/pair /opt/sbx/sbx -bin /opt/sbx/bench $(BENCHFLAGS)'; status=$$?; test/vm/fast.sh down; exit $$status

bench-changes: build $(BENCHBIN)/changes
	$(BENCHBIN)/changes -max 1 -user-max 300ms $(BENCHFLAGS)

bench-tools: $(BENCHGO) $(BENCHBIN)/empty $(BENCHASM)

$(BENCHGO): FORCE
	CGO_ENABLED=0 go build -o $@ ./bench/$(@F)

$(BENCHBIN)/empty: bench/empty/main.go
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $@ ./bench/empty

$(BENCHBIN)/%: bench/floor/%.c bench/floor/nolibc.h
	@mkdir -p $(@D)
	$(BENCHC) -o $@ $<

bench-clean:
	rm -rf $(BENCHBIN)

FORCE:
