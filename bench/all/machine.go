package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what a reader has to know of the host; nothing that names it.
type machine struct {
	Date         string `json:"date"`
	Distribution string `json:"distribution"`
	Kernel       string `json:"kernel"`
	CPU          string `json:"cpu"`
	CPUs         int    `json:"cpus"`
	MemoryGiB    int    `json:"memory_gib"`
	Virtual      bool   `json:"virtual"`
	Load         string `json:"load"` // one minute, before the measurement
}

func describe() machine {
	m := machine{Date: time.Now().UTC().Format(time.DateOnly), CPUs: runtime.NumCPU()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
	}
	m.Distribution = strings.Trim(value("/etc/os-release", "PRETTY_NAME="), `"`)
	m.CPU = strings.TrimLeft(value("/proc/cpuinfo", "model name"), "\t :")
	m.Virtual = strings.Contains(value("/proc/cpuinfo", "flags"), " hypervisor")
	kb, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value("/proc/meminfo", "MemTotal:")), " kB"))
	m.MemoryGiB = (kb + 1<<19) >> 20
	load, _ := os.ReadFile("/proc/loadavg")
	m.Load, _, _ = strings.Cut(string(load), " ")
	return m
}

func (m machine) String() string {
	kind := ""
	if m.Virtual {
		kind = ", virtual"
	}
	return fmt.Sprintf("%s, kernel %s, %d × %s, %d GiB%s, load %s, %s",
		m.Distribution, m.Kernel, m.CPUs, m.CPU, m.MemoryGiB, kind, m.Load, m.Date)
}

// value returns the rest of the first line of a file that starts with key.
func value(path, key string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimRight(rest, "\n")
		}
	}
	return ""
}
