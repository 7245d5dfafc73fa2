// Command sbx-scope asks the user's systemd for the control group of a
// sandbox: a delegated scope with limits. sbx starts it, when a profile has
// limits that take one; it is not meant to be run by hand. It reads a
// cgroup.ScopeRequest from standard input, answers on standard output and ends.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"

	"github.com/godbus/dbus/v5"

	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
)

func main() { os.Exit(answer(os.Stdin, os.Stdout)) }

// answer serves one request. Its status is 0 when the scope is there.
func answer(in io.Reader, out io.Writer) int {
	a := cgroup.ScopeAnswer{Protocol: cgroup.ScopeProtocol}
	var req cgroup.ScopeRequest
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	err := dec.Decode(&req)
	switch {
	case err != nil:
		err = fmt.Errorf("reading the request: %w; sbx starts this program, it is not run by hand", err)
	case req.Protocol != cgroup.ScopeProtocol:
		err = fmt.Errorf("a request of protocol %d, this sbx-scope speaks %d; install sbx and sbx-scope of the same version", req.Protocol, cgroup.ScopeProtocol)
	default:
		a.Cgroup, err = start(&req)
	}
	if err != nil {
		a.Error = err.Error()
	}
	if err := json.NewEncoder(out).Encode(a); err != nil {
		fmt.Fprintln(os.Stderr, "sbx-scope:", err)
		return 1
	}
	if a.Error != "" {
		return 1
	}
	return 0
}

// The names of systemd on the bus; org.freedesktop.systemd1(5).
const (
	service = "org.freedesktop.systemd1"
	object  = "/org/freedesktop/systemd1"
	manager = service + ".Manager."
)

// start makes the scope and returns its group.
func start(req *cgroup.ScopeRequest) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), req.Patience)
	defer cancel()
	limits, err := limits(req)
	if err != nil {
		return "", err
	}
	props, err := properties(req)
	if err != nil {
		return "", err
	}
	props = append(props, limits...)
	conn, err := dial(ctx, req.Socket)
	if err != nil {
		return "", fmt.Errorf("connecting to your systemd at %s: %w", req.Socket, late(ctx, err))
	}
	defer conn.Close()
	if req.Update {
		return update(ctx, conn, req, limits)
	}
	// Before the call: the job may be done before its number is known. systemd
	// sends every signal to who talks to it directly, nobody has to subscribe.
	signals := make(chan *dbus.Signal, 64)
	conn.Signal(signals)
	var job dbus.ObjectPath
	call := conn.Object(service, object).CallWithContext(ctx, manager+"StartTransientUnit", 0, req.Unit, "fail", props, []auxiliary{})
	if err := call.Store(&job); err != nil {
		return "", fmt.Errorf("asking your systemd for %s: %w", req.Unit, late(ctx, err))
	}
	result, err := await(ctx, signals, job)
	switch {
	case err != nil:
		return "", fmt.Errorf("waiting for %s: %w", req.Unit, err)
	case result != "done":
		return "", fmt.Errorf("your systemd made no %s: its job is %s; journalctl --user -u %s may say why", req.Unit, result, req.Unit)
	}
	// The kernel's word on where the processes are now.
	return cgroup.Of(strconv.Itoa(req.PIDs[0]))
}

// await returns the result of a job.
func await(ctx context.Context, signals <-chan *dbus.Signal, job dbus.ObjectPath) (string, error) {
	for {
		select {
		case s, ok := <-signals:
			if !ok {
				return "", errors.New("your systemd has closed the connection")
			}
			// JobRemoved(id, job, unit, result)
			if s.Name != manager+"JobRemoved" || len(s.Body) != 4 || s.Body[1] != job {
				continue
			}
			result, ok := s.Body[3].(string)
			if !ok {
				return "", fmt.Errorf("its end is %v", s.Body)
			}
			return result, nil
		case <-ctx.Done():
			return "", late(ctx, ctx.Err())
		}
	}
}

// late names the patience that ran out in place of an error that follows from it.
func late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("there was no answer in time")
	}
	return err
}

// dial connects to systemd itself and not to a message bus: that is one process
// less to wait for, and there need not be one. Who answers is the user: nobody
// else can have made the socket in the runtime directory.
func dial(ctx context.Context, socket string) (*dbus.Conn, error) {
	conn, err := dbus.Dial("unix:path="+dbus.EscapeBusAddressValue(socket), dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	// By number: a name would be looked up.
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// properties are those of the unit; systemd.scope(5), systemd.resource-control(5).
func properties(req *cgroup.ScopeRequest) ([]property, error) {
	if len(req.PIDs) == 0 {
		return nil, errors.New("the request names no process, and a scope without one can't be")
	}
	pids := make([]uint32, len(req.PIDs))
	for i, pid := range req.PIDs {
		if pid <= 0 {
			return nil, fmt.Errorf("the request names process %d", pid)
		}
		pids[i] = uint32(pid)
	}
	list := []property{
		{"Description", dbus.MakeVariant(req.Description)},
		{"Slice", dbus.MakeVariant(req.Slice)},
		{"Delegate", dbus.MakeVariant(true)},
		// A scope that failed is not kept for somebody to look at.
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
		{"PIDs", dbus.MakeVariant(pids)},
	}
	return list, nil
}

// limits are the limits' properties.
func limits(req *cgroup.ScopeRequest) ([]property, error) {
	var list []property
	limits, err := req.Limits.Properties()
	if err != nil {
		return nil, err
	}
	for _, p := range limits {
		value := p.Value
		if rates, ok := value.([]cgroup.DeviceRate); ok {
			value = deviceRates(rates)
		}
		list = append(list, property{p.Name, dbus.MakeVariant(value)})
	}
	return list, nil
}

// update changes the limits of a scope until it ends. systemd has to know of it:
// else it would write the old ones again with its next reload.
func update(ctx context.Context, conn *dbus.Conn, req *cgroup.ScopeRequest, limits []property) (string, error) {
	at, err := cgroup.Of(strconv.Itoa(req.PIDs[0]))
	if err != nil {
		return "", err
	}
	top := path.Dir(cgroup.Payload(at))
	if path.Base(top) != req.Unit {
		return "", fmt.Errorf("process %d is in %s, and not in %s", req.PIDs[0], at, req.Unit)
	}
	call := conn.Object(service, object).CallWithContext(ctx, manager+"SetUnitProperties", 0, req.Unit, true, limits)
	if err := call.Store(); err != nil {
		return "", fmt.Errorf("changing %s: %w", req.Unit, late(ctx, err))
	}
	return top, nil
}

// property is the struct (sv) on the bus, auxiliary (sa(sv)), a unit to start
// beside.
type (
	property struct {
		Name  string
		Value dbus.Variant
	}
	auxiliary struct {
		Name       string
		Properties []property
	}
)

// deviceRate is the struct (st) on the bus.
type deviceRate struct {
	Path string
	Rate uint64
}

func deviceRates(list []cgroup.DeviceRate) []deviceRate {
	out := make([]deviceRate, len(list))
	for i, r := range list {
		out[i] = deviceRate(r)
	}
	return out
}
