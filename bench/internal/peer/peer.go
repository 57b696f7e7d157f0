// Package peer gets, starts and stops the systems that are measured: three nodes each, on loopback,
// with data directories of their own on the same disk.
package peer

import (
	"context"
	"time"

	"roadstead.dev/bench/internal/load"
)

// nodes of each cluster.
const nodes = 3

// startUp is how long a cluster may take until it serves.
const startUp = 2 * time.Minute

// Peer is one system with one set of settings.
type Peer interface {
	// Facts are what results are read with; whole after Get.
	Facts() Facts
	// Get brings the software here where it is not; the error says why it cannot be measured.
	Get(ctx context.Context) error
	// Start starts a cluster with its data and logs in an empty folder, and waits until it serves.
	Start(ctx context.Context, folder string) (Cluster, error)
}

// Facts are what results are read with.
type Facts struct {
	Name       string `json:"name"`
	Title      string `json:"title"`
	Version    string `json:"version"`
	Client     string `json:"client"`
	Durability string `json:"durability"` // the settings that decide it
	// Queues is how many it is measured with at most; Why says why not more.
	Queues int    `json:"queues"`
	Why    string `json:"why,omitempty"`
	// Partitions says whether its queues have them.
	Partitions bool `json:"partitions"`
}

// Cluster runs.
type Cluster interface {
	// Servers are the processes of the nodes; their descendants count too.
	Servers() []int
	// Run carries out a schedule on new queues. Begun is called when the window begins, with the
	// process of the load generator.
	Run(ctx context.Context, schedule load.Schedule, name string, begun func(client int)) (
		load.Result, error)
	// Stop ends every process that Start began.
	Stop()
}

// All are those that can be asked for, in the order of the table. Binaries is the folder of
// Roadstead's own.
func All(cache, binaries string) []Peer {
	return []Peer{
		&Roadstead{binaries: binaries},
		&RabbitMQ{cache: cache},
		&NATS{cache: cache, always: true},
		&NATS{cache: cache},
		&Kafka{cache: cache, flush: true},
		&Kafka{cache: cache},
	}
}
