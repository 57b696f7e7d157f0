package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"roadstead.dev/bench/internal/load"
)

// memoryLimit of each node. It bounds what clients may have open too: a stream for each 2 MiB, of
// which 1,000 queues need some 700 on each node.
const memoryLimit = "2Gi"

// Roadstead is what this is all about.
type Roadstead struct {
	binaries string
	version  string
}

// Facts are what results are read with.
func (r *Roadstead) Facts() Facts {
	return Facts{
		Name:    "roadstead",
		Title:   "Roadstead",
		Version: r.version,
		Client:  "roadstead-client (Rust), by roadstead bench",
		Durability: "replication 3 (fsync on a majority before the confirmation; there is no " +
			"other setting)",
		Queues:     1_000,
		Partitions: true,
	}
}

func (r *Roadstead) binary(name string) string { return filepath.Join(r.binaries, name) }

// Get asks for the version of what is built.
func (r *Roadstead) Get(ctx context.Context) error {
	for _, name := range []string{"roadstead", "roadstead-node"} {
		if _, err := os.Stat(r.binary(name)); err != nil {
			return fmt.Errorf("%s is not built: cargo build --workspace --bins", r.binary(name))
		}
	}
	said, err := output(ctx, plain(), r.binary("roadstead"), "--version")
	r.version = strings.TrimPrefix(strings.TrimSpace(said), "roadstead ")
	return err
}

// plain is the environment without the caller's settings of other nodes.
func plain() []string {
	var kept []string
	for _, one := range os.Environ() {
		if !strings.HasPrefix(one, "ROADSTEAD_") {
			kept = append(kept, one)
		}
	}
	return kept
}

// member is a node as `roadstead dev` tells of it.
type member struct {
	Name, Client, Admin, HTTP string
}

// Start founds a cluster by `roadstead dev`, and goes on with its nodes as three processes.
func (r *Roadstead) Start(ctx context.Context, folder string) (Cluster, error) {
	members, err := r.found(ctx, folder)
	if err != nil {
		return nil, fmt.Errorf("cannot found a cluster: %w", err)
	}
	c := roadsteadCluster{roadstead: r}
	var endpoints []string
	for _, one := range members {
		started, err := start(one.Name, folder, plain(), r.binary("roadstead-node"),
			"--name", one.Name, "--data-dir", filepath.Join(folder, one.Name),
			"--tls-dir", filepath.Join(folder, "node"), "--client-auth", "anonymous",
			"--memory-limit", memoryLimit, "--client-listen", one.Client,
			"--peer-listen", one.Admin, "--http-listen", one.HTTP)
		if err != nil {
			c.Stop()
			return nil, err
		}
		c.fleet = append(c.fleet, started)
		endpoints = append(endpoints, one.Client)
	}
	c.endpoints = strings.Join(endpoints, ",")
	err = c.until(ctx, "every node has caught up", func() error { return c.ready(ctx) })
	if err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (r *Roadstead) found(ctx context.Context, folder string) ([]member, error) {
	command := exec.CommandContext(ctx, r.binary("roadstead"), "dev", "--nodes",
		fmt.Sprint(nodes), "--port", "0", "--data-dir", folder, "--output", "json")
	command.Env = plain()
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	var said struct{ Nodes []member }
	err = json.NewDecoder(out).Decode(&said)
	_ = command.Process.Signal(syscall.SIGTERM)
	if ended := command.Wait(); err == nil {
		err = ended
	}
	return said.Nodes, err
}

// roadsteadCluster is driven by `roadstead bench`.
type roadsteadCluster struct {
	fleet
	roadstead *Roadstead
	endpoints string
}

// ready says what is missing until every node has caught up and every shard has a leader.
func (c roadsteadCluster) ready(ctx context.Context) error {
	said, err := output(ctx, plain(), c.roadstead.binary("roadstead"), "--endpoint", c.endpoints,
		"--output", "json", "cluster", "status")
	if err != nil {
		return err
	}
	var status struct {
		Members []struct {
			Name, State string
			CaughtUp    bool
		}
		Shards []struct {
			Shard  json.Number
			Leader any
		}
	}
	if err := json.Unmarshal([]byte(said), &status); err != nil {
		return err
	}
	for _, one := range status.Members {
		if !one.CaughtUp || one.State != "Serving" {
			return fmt.Errorf("node %s is %s", one.Name, one.State)
		}
	}
	for _, one := range status.Shards {
		if one.Leader == nil || one.Leader == "" {
			return fmt.Errorf("shard %s has no leader", one.Shard)
		}
	}
	return nil
}

// Run carries out a schedule by `roadstead bench`.
func (c roadsteadCluster) Run(
	ctx context.Context, schedule load.Schedule, _ string, begun func(int),
) (load.Result, error) {
	if err := schedule.Check(); err != nil {
		return load.Result{}, err
	}
	words := append([]string{"--endpoint", c.endpoints, "--output", "json"},
		benchWords(schedule)...)
	return runBench(ctx, c.roadstead.binary("roadstead"), words, begun)
}
