package main

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
)

// TestRefused: what is no request, or can't be had, is an answer with an error
// and a status, and takes no longer than it may.
func TestRefused(t *testing.T) {
	request := func(change func(*cgroup.ScopeRequest)) string {
		r := cgroup.ScopeRequest{Protocol: cgroup.ScopeProtocol, Socket: "/nonexistent/private", Unit: "sbx-1.scope", Slice: "sbx.slice",
			PIDs: []int{os.Getpid()}, Patience: 2 * time.Second}
		change(&r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", "it is not run by hand"},
		{"no JSON", "hello", "it is not run by hand"},
		{"an unknown field", `{"protocol":1,"more":2}`, "it is not run by hand"},
		{"another protocol", request(func(r *cgroup.ScopeRequest) { r.Protocol = 9 }), "a request of protocol 9, this sbx-scope speaks 1"},
		{"no process", request(func(r *cgroup.ScopeRequest) { r.PIDs = nil }), "names no process"},
		{"no number of a process", request(func(r *cgroup.ScopeRequest) { r.PIDs = []int{0} }), "names process 0"},
		{"no processors", request(func(r *cgroup.ScopeRequest) { r.Limits.CPUs = "x" }), "no list of processors"},
		{"no systemd", request(func(*cgroup.ScopeRequest) {}), "connecting to your systemd at /nonexistent/private: "},
	} {
		var out bytes.Buffer
		status := answer(strings.NewReader(tt.in), &out)
		var a cgroup.ScopeAnswer
		if err := json.Unmarshal(out.Bytes(), &a); err != nil || status != 1 || a.Protocol != cgroup.ScopeProtocol || a.Cgroup != "" || !strings.Contains(a.Error, tt.want) {
			t.Errorf("%s: status %d, %s, want %q", tt.name, status, &out, tt.want)
		}
	}
}

// TestProperties holds the types against the bus's signatures.
func TestProperties(t *testing.T) {
	req := cgroup.ScopeRequest{Slice: "sbx.slice", Description: "sbx: x", PIDs: []int{7, 8}, Limits: cgroup.Limits{
		MemoryMax: 1 << 20, CPUMax: 500, CPUs: "0-1", PidsMax: 3, IO: []cgroup.IO{{Path: "/dev/vda", ReadBPS: 5}},
	}}
	list, err := properties(&req)
	if err != nil {
		t.Fatal(err)
	}
	more, err := limits(&req)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range append(list, more...) {
		got[p.Name] = p.Value.Signature().String()
	}
	want := map[string]string{
		"Description": "s", "Slice": "s", "Delegate": "b", "CollectMode": "s", "PIDs": "au",
		"CPUAccounting": "b", "IOAccounting": "b", "MemoryAccounting": "b", "TasksAccounting": "b",
		"AllowedCPUs": "ay", "CPUQuotaPerSecUSec": "t", "IOReadBandwidthMax": "a(st)", "MemoryMax": "t", "TasksMax": "t",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if v := list[4].Value; !reflect.DeepEqual(v, dbus.MakeVariant([]uint32{7, 8})) {
		t.Errorf("the processes are %v", v)
	}
}
