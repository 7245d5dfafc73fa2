# The benchmarks: included by the Makefile of the tree.
#
#   make bench                        one table on the terminal
#   make bench BENCHFLAGS='-quick'    the same in a fraction of the time
#   make bench BENCHFLAGS='-write'    and docs/BENCHMARKS.md
#   make bench-orphans                the orphan gate
#   make bench-seccomp                what the system call filter costs a call; fails above 1.3
#
# As root name the unprivileged account that runs the sandboxes: BENCHFLAGS='-user NAME'.

BENCHBIN = bin/bench
BENCHCC ?= gcc
BENCHC   = $(BENCHCC) -O2 -Wall -Wextra -static -nostdlib -ffreestanding -fno-pic -no-pie \
	-fno-stack-protector -fno-asynchronous-unwind-tables \
	-Wl,--build-id=none -Wl,-z,norelro -Wl,-z,noseparate-code -s
BENCHGO  = $(addprefix $(BENCHBIN)/,pair memory orphans calls all)
BENCHASM = $(addprefix $(BENCHBIN)/,true0 idle0)
ifeq ($(shell uname -m),x86_64) # elsewhere these two candidates are listed as not run
BENCHC   += -fcf-protection=none
BENCHASM += $(addprefix $(BENCHBIN)/,floor idmap)
endif

.PHONY: bench bench-orphans bench-seccomp bench-tools bench-clean FORCE

bench: build bench-tools
	$(BENCHBIN)/all $(BENCHFLAGS)

bench-orphans: build bench-tools
	$(BENCHBIN)/orphans $(BENCHFLAGS)

bench-seccomp: build $(BENCHBIN)/calls
	$(BENCHBIN)/calls -max 1.3 $(BENCHFLAGS)

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
