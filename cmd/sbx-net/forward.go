package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port"
	"github.com/rootless-containers/rootlesskit/v3/pkg/port/slirp4netns"

	"github.com/sbx-sandbox/sbx/slirp"
)

// forward has a slirp4netns that runs publish ports, by rootlesskit's driver for
// it, and returns when they listen. They do as long as slirp4netns runs.
func forward(in io.Reader, errs io.Writer) int {
	var f slirp.Forward
	if err := json.NewDecoder(in).Decode(&f); err != nil {
		fmt.Fprintln(errs, "reading what is to be published:", err)
		return 1
	}
	if err := addPorts(f); err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	return 0
}

func addPorts(f slirp.Forward) error {
	driver, err := slirp4netns.NewParentDriver(io.Discard, f.Socket)
	if err != nil {
		return err
	}
	ready, quit, ended := make(chan struct{}, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- driver.RunParentDriver(ready, quit, &port.ChildContext{IP: net.IP(f.Address.AsSlice())})
	}()
	<-ready
	defer func() {
		close(quit)
		<-ended // it has nothing to end
	}()
	for _, p := range f.Publish {
		for i := range p.Ports() {
			spec := port.Spec{Proto: p.Protocol + "4", ParentIP: p.Address.String(), ParentPort: int(p.HostPort) + i, ChildPort: int(p.Port) + i}
			if _, err := driver.AddPort(context.Background(), spec); err != nil {
				return fmt.Errorf("publish %s: %w", p, err)
			}
		}
	}
	return nil
}
