package projects

import (
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// TestMake configures, builds, tests and installs a C project.
func TestMake(t *testing.T) {
	s := newSite(t, "c", "gcc", "make")
	s.commit(t)
	s.untouched(t)
	s.setenv("CFLAGS=-O1 -g", "MAKEFLAGS=-j4")

	s.must(t, s.sandboxed(t, "make", "./configure", "--prefix=/usr"), "checking whether cc works... yes", "configured.")
	r := s.sandboxed(t, "make", "make", "check", "install", "DESTDIR=stage")
	s.must(t, r, "ok test_kv", "ok test_threads", "ok test_process", "ok kv", "-O1 -g")
	s.must(t, s.outside(t, "sh", "-ec", "stage/usr/bin/kv /dev/null get x || test $? = 1"))
	s.must(t, s.sandboxed(t, "make", "make", "-q")) // times are right: nothing is made again

	s.status(t, "config.h", "config.log", "config.mk", "hash.d", "hash.o", "journal.d", "journal.o", "kv", "kv.d", "kv.o",
		"libkv.a", "libkv.so", "libkv.so.1", "main.d", "main.o", "stage/", "test_kv", "test_kv.d", "test_kv.o",
		"test_process", "test_process.d", "test_process.o", "test_threads", "test_threads.d", "test_threads.o")
	s.blind(t, "make")
}

// TestMakeInstallOutside: what is installed to the system's directories does
// not get there, and the reason is named.
func TestMakeInstallOutside(t *testing.T) {
	s := newSite(t, "c", "gcc", "make")
	s.commit(t)
	s.untouched(t)
	s.fails(t, s.script(t, "make", "./configure --prefix=/usr && make && make install"), "Read-only file system")
}

func TestCMake(t *testing.T) {
	s := newSite(t, "c", "gcc", "make", "cmake")
	s.commit(t)
	s.untouched(t)
	s.must(t, s.script(t, "make", "cmake -S . -B build && cmake --build build -j4 && cd build && ctest --output-on-failure"),
		"100% tests passed, 0 tests failed out of 3")
	if sbxtest.Tool("ninja").Missing() == nil {
		s.must(t, s.script(t, "make", "rm -rf build; cmake -G Ninja -S . -B build && ninja -C build"), "kv-bin")
	}
	s.status(t, "build/")
	s.blind(t, "make")
}

// TestDebuggers: gdb and strace work on processes that they start themselves.
func TestDebuggers(t *testing.T) {
	s := newSite(t, "c", "gcc", "make")
	s.commit(t)
	s.untouched(t)
	s.must(t, s.script(t, "make", "./configure && make kv"))
	t.Run("gdb", func(t *testing.T) {
		sbxtest.Require(t, sbxtest.Tool("gdb"))
		r := s.sandboxed(t, "make", "gdb", "-batch", "-nx", "-ex", "break kv_hash", "-ex", "run x.db get key", "-ex", "bt", "./kv")
		s.must(t, r, "Breakpoint 1, kv_hash", "in main")
		r = s.sandboxed(t, "make", "gdb", "-batch", "-nx", "-ex", "run crash", "-ex", "bt", "./kv")
		s.must(t, r, "SIGABRT", "main")
		s.must(t, s.sandboxed(t, "make", "rm", "-f", "x.db"))
	})
	t.Run("strace", func(t *testing.T) {
		sbxtest.Require(t, sbxtest.Tool("strace"))
		r := s.sandboxed(t, "make", "strace", "-f", "-e", "trace=openat,flock", "./kv", "/tmp/x.db", "set", "a", "b")
		s.must(t, r, `"/tmp/x.db", O_RDWR`, "LOCK_EX")
	})
}
