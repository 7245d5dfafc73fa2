package launch

import (
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/nets"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/networks"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// holders are the holders of a plan's networks. It is a run.Networks.
type holders struct {
	store  networks.Store
	helper string
}

// holdersOf of the networks of a plan, nil for none.
func holdersOf(inv *cli.Invocation, plan *sandbox.Plan) (run.Networks, error) {
	if len(plan.Net.Networks) == 0 {
		return nil, nil
	}
	store, err := nets.Store(inv)
	if err == nil {
		_, err = state.Open() // its directory may not be there yet
	}
	return holders{store, plan.Net.Helper}, err
}

// Connect implements run.Networks.
func (h holders) Connect(name string) (*control.Conn, error) { return h.store.Connect(name, h.helper) }

// Sweep implements run.Networks.
func (h holders) Sweep(name string) { _, _ = h.store.Members(name) } // who looks removes what is dead
