package peer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"roadstead.dev/bench/internal/drive"
)

// RabbitMQ is quorum queues with three members.
type RabbitMQ struct {
	cache string
}

// Facts are what results are read with.
func (r *RabbitMQ) Facts() Facts {
	return Facts{
		Name:    "rabbitmq",
		Title:   "RabbitMQ quorum queue",
		Version: r.chroot().version("rabbitmq-server"),
		Client:  "amqp091-go " + module("github.com/rabbitmq/amqp091-go"),
		Durability: "quorum queue of three members, publisher confirms (fsync on a majority " +
			"before the confirm; there is no other setting)",
		Queues: 1_000,
	}
}

func (r *RabbitMQ) chroot() chroot { return chroot{filepath.Join(r.cache, "rabbitmq")} }

// Get makes a Debian sid with RabbitMQ in a folder.
func (r *RabbitMQ) Get(ctx context.Context) error {
	return r.chroot().get(ctx, "sid", "rabbitmq-server")
}

const rabbitConfig = `listeners.tcp.1 = 127.0.0.1:%d
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = r1@localhost
cluster_formation.classic_config.nodes.2 = r2@localhost
cluster_formation.classic_config.nodes.3 = r3@localhost
cluster_formation.target_cluster_size_hint = 3
disk_free_limit.absolute = 1GB
vm_memory_high_watermark.relative = 0.4
`

// rabbitCookie is the secret that nodes and tools share; all is on loopback.
const rabbitCookie = "roadstead-bench"

// rabbitNode is one node; its folders are those inside the chroot.
type rabbitNode struct {
	name            string
	amqp, dist, epm int
}

func (n rabbitNode) home() string { return filepath.Join(mounted, n.name) }

func (n rabbitNode) environment() []string {
	return []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"HOME=" + n.home(),
		"RABBITMQ_NODENAME=" + n.name + "@localhost",
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", n.dist),
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(n.home(), "rabbitmq.conf"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(n.home(), "data"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(n.home(), "plugins"),
		"RABBITMQ_LOGS=-",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"ERL_EPMD_ADDRESS=127.0.0.1",
		fmt.Sprintf("ERL_EPMD_PORT=%d", n.epm),
	}
}

// Start starts the port mapper of Erlang and three nodes, which find each other.
func (r *RabbitMQ) Start(ctx context.Context, folder string) (Cluster, error) {
	free, err := ports(2*nodes + 1)
	if err != nil {
		return nil, err
	}
	root := r.chroot()
	all := make([]rabbitNode, nodes)
	var driver drive.RabbitMQ
	for i := range all {
		all[i] = rabbitNode{fmt.Sprintf("r%d", i+1), free[2*i], free[2*i+1], free[2*nodes]}
		if err := all[i].write(folder); err != nil {
			return nil, err
		}
		driver.Nodes = append(driver.Nodes, "amqp://guest:guest@"+loopback(all[i].amqp))
	}
	d := driven{servers: nodes, driver: driver}
	names := []string{"epmd"}
	commands := [][]string{{"epmd"}}
	for _, node := range all {
		names = append(names, node.name)
		commands = append(commands, []string{"/usr/lib/rabbitmq/bin/rabbitmq-server"})
	}
	for i, command := range commands {
		environment := all[max(0, i-1)].environment()
		one, err := start(names[i], folder, environment, root.within(folder, command...)...)
		if err != nil {
			d.Stop()
			return nil, err
		}
		d.fleet = append(d.fleet, one)
	}
	err = d.until(ctx, "all nodes of RabbitMQ run", func() error {
		ask := root.within(folder, "/usr/lib/rabbitmq/bin/rabbitmqctl", "-n", "r1@localhost",
			"eval", "length(rabbit_nodes:list_running()).")
		said, err := output(ctx, all[0].environment(), ask...)
		if err == nil && strings.TrimSpace(said) != fmt.Sprint(nodes) {
			err = fmt.Errorf("nodes that run: %s of %d", strings.TrimSpace(said), nodes)
		}
		return err
	})
	if err != nil {
		d.Stop()
		return nil, err
	}
	return d, nil
}

// write makes a node's home with its configuration and cookie.
func (n rabbitNode) write(folder string) error {
	home := filepath.Join(folder, n.name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	files := map[string]string{
		"rabbitmq.conf":  fmt.Sprintf(rabbitConfig, n.amqp),
		".erlang.cookie": rabbitCookie,
		"plugins":        "[].\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
