package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"roadstead.dev/bench/internal/drive"
)

const natsVersion = "2.15.2"

// NATS is JetStream with three replicas.
type NATS struct {
	cache  string
	always bool // sync_interval: always; else its default of two minutes
}

// Facts are what results are read with.
func (n *NATS) Facts() Facts {
	facts := Facts{
		Name:    "nats",
		Title:   "NATS R3, fsync always",
		Version: natsVersion,
		Client:  "nats.go " + module("github.com/nats-io/nats.go"),
		Durability: "R3 work-queue stream on file; sync_interval: always (fsync before the " +
			"confirmation)",
		Queues: 100,
		Why:    "each queue is two Raft groups: a stream's and its consumer's",
	}
	if !n.always {
		facts.Name, facts.Title = "nats-default", "NATS R3, default"
		facts.Durability = "R3 work-queue stream on file; sync_interval: its default, 2 minutes " +
			"(confirmed before fsync)"
	}
	return facts
}

func (n *NATS) folder() string { return filepath.Join(n.cache, "nats", natsVersion) }

// Get builds the server by Go.
func (n *NATS) Get(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(n.folder(), "nats-server")); err == nil {
		return nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("Go is not there to build nats-server")
	}
	environment := append(os.Environ(), "GOBIN="+n.folder())
	_, err := output(ctx, environment,
		"go", "install", "github.com/nats-io/nats-server/v2@v"+natsVersion)
	return err
}

const natsConfig = `server_name: %[1]s
listen: 127.0.0.1:%[2]d
http: 127.0.0.1:%[3]d
cluster {
  name: bench
  listen: 127.0.0.1:%[4]d
  routes: [%[5]s]
}
jetstream {
  store_dir: %[6]q
  max_mem: 1G
  max_file: 16G
%[7]s}
`

// Start starts three servers.
func (n *NATS) Start(ctx context.Context, folder string) (Cluster, error) {
	free, err := ports(3 * nodes)
	if err != nil {
		return nil, err
	}
	var routes []string
	for node := range nodes {
		routes = append(routes, fmt.Sprintf("nats-route://%s", loopback(free[3*node+2])))
	}
	sync := ""
	if n.always {
		sync = "  sync_interval: always\n"
	}
	driver := drive.NATS{Nodes: map[string]string{}}
	d := driven{servers: nodes}
	for node := range nodes {
		name := fmt.Sprintf("n%d", node+1)
		port, data := free[3*node:], filepath.Join(folder, name)
		text := fmt.Sprintf(natsConfig, name, port[0], port[1], port[2],
			strings.Join(routes, ", "), data, sync)
		config := filepath.Join(folder, name+".conf")
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			d.Stop()
			return nil, err
		}
		server := filepath.Join(n.folder(), "nats-server")
		one, err := start(name, folder, os.Environ(), server, "-c", config)
		if err != nil {
			d.Stop()
			return nil, err
		}
		d.fleet = append(d.fleet, one)
		driver.Nodes[name] = "nats://" + loopback(port[0])
	}
	d.driver = driver
	err = d.until(ctx, "JetStream has a leader on every server", func() error {
		for node := range nodes {
			if err := natsReady(ctx, loopback(free[3*node+1])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.Stop()
		return nil, err
	}
	return d, nil
}

// natsReady asks a server whether it is well and knows a leader among all.
func natsReady(ctx context.Context, address string) error {
	for _, path := range []string{"/healthz", "/jsz"} {
		request, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+path, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		var said struct {
			Meta struct {
				Leader string `json:"leader"`
				Size   int    `json:"cluster_size"`
			} `json:"meta_cluster"`
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s%s says %s", address, path, response.Status)
		}
		if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
			return err
		}
		if path == "/jsz" && (said.Meta.Leader == "" || said.Meta.Size != nodes) {
			return fmt.Errorf("%s: leader %q of %d servers", address, said.Meta.Leader, said.Meta.Size)
		}
	}
	return nil
}
