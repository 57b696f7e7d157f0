package peer

import (
	"context"
	"os"

	"roadstead.dev/bench/internal/load"
)

// driven is a cluster that this process drives.
type driven struct {
	fleet
	servers int // of the fleet: those that count as nodes are the last
	driver  load.Driver
}

// Servers are the nodes.
func (d driven) Servers() []int {
	all := d.fleet.Servers()
	return all[len(all)-d.servers:]
}

// Run carries out a schedule.
func (d driven) Run(
	ctx context.Context, schedule load.Schedule, name string, begun func(int),
) (load.Result, error) {
	return load.Drive(ctx, d.driver, schedule, name, func() { begun(os.Getpid()) })
}
