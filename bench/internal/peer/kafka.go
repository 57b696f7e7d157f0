package peer

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"roadstead.dev/bench/internal/drive"
)

const (
	kafkaVersion = "4.4.0"
	// kafkaCluster is 16 bytes in base64 of URLs, as Kafka wants them.
	kafkaCluster = "cm9hZHN0ZWFkLWJlbmNoAA"
)

// Kafka is topics with three replicas, two of which confirm, read by a share group.
type Kafka struct {
	cache string
	flush bool // fsync for each message; else its default: when the system writes back
}

// Facts are what results are read with.
func (k *Kafka) Facts() Facts {
	facts := Facts{
		Name:    "kafka",
		Title:   "Kafka share group, flush each",
		Version: kafkaVersion,
		Client:  "franz-go " + module("github.com/twmb/franz-go"),
		Durability: "replication 3, acks=all, min.insync.replicas=2; log.flush.interval.messages=1 " +
			"(fsync before the confirmation)",
		Queues:     100,
		Why:        "a share group of 1,000 topics was not tried",
		Partitions: true,
	}
	if !k.flush {
		facts.Name, facts.Title = "kafka-default", "Kafka share group, default"
		facts.Durability = "replication 3, acks=all, min.insync.replicas=2; no flush (confirmed in " +
			"memory of two)"
	}
	return facts
}

func (k *Kafka) folder() string { return filepath.Join(k.cache, "kafka", kafkaVersion) }

const kafkaPom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bench</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>` + kafkaVersion + `</version>
    </dependency>
  </dependencies>
</project>
`

// Get brings the jars by Maven.
func (k *Kafka) Get(ctx context.Context) error {
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not there: apt-get install default-jre-headless maven", tool)
		}
	}
	whole := filepath.Join(k.folder(), "whole")
	if _, err := os.Stat(whole); err == nil {
		return nil
	}
	if err := os.MkdirAll(k.folder(), 0o755); err != nil {
		return err
	}
	pom := filepath.Join(k.folder(), "pom.xml")
	if err := os.WriteFile(pom, []byte(kafkaPom), 0o644); err != nil {
		return err
	}
	_, err := output(ctx, os.Environ(), "mvn", "-B", "-q", "-f", pom,
		"-Dmaven.repo.local="+filepath.Join(k.cache, "maven"),
		"dependency:copy-dependencies", "-DincludeScope=runtime",
		"-DoutputDirectory="+filepath.Join(k.folder(), "libs"))
	if err != nil {
		return err
	}
	return os.WriteFile(whole, nil, 0o644)
}

//go:embed kafka.properties
var kafkaProperties string

// Start starts three nodes, brokers and controllers at once.
func (k *Kafka) Start(ctx context.Context, folder string) (Cluster, error) {
	free, err := ports(2 * nodes)
	if err != nil {
		return nil, err
	}
	var voters []string
	for node := range nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", node+1, loopback(free[2*node+1])))
	}
	var driver drive.Kafka
	d := driven{servers: nodes}
	for node := range nodes {
		name := fmt.Sprintf("k%d", node+1)
		address, data := loopback(free[2*node]), filepath.Join(folder, name)
		settings := fmt.Sprintf(kafkaProperties, node+1, address, loopback(free[2*node+1]), data,
			strings.Join(voters, ","))
		if k.flush {
			settings += "log.flush.interval.messages=1\n"
		}
		one, err := k.node(ctx, name, folder, settings)
		if err != nil {
			d.Stop()
			return nil, err
		}
		d.fleet = append(d.fleet, one)
		driver.Nodes = append(driver.Nodes, address)
	}
	d.driver = driver
	err = d.until(ctx, "Kafka takes connections", func() error {
		for _, address := range driver.Nodes {
			connection, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				return err
			}
			connection.Close()
		}
		return driver.Serves(ctx)
	})
	if err != nil {
		d.Stop()
		return nil, err
	}
	return d, nil
}

// node formats the data of a node and starts it.
func (k *Kafka) node(ctx context.Context, name, folder, settings string) (*process, error) {
	config := filepath.Join(folder, name+".properties")
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		return nil, err
	}
	jars := filepath.Join(k.folder(), "libs", "*")
	_, err := output(ctx, os.Environ(), "java", "-cp", jars,
		"kafka.tools.StorageTool", "format", "-t", kafkaCluster, "-c", config)
	if err != nil {
		return nil, fmt.Errorf("cannot format the data: %w", err)
	}
	return start(name, folder, os.Environ(), "java", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC",
		"-XX:MaxGCPauseMillis=20", "-cp", jars, "kafka.Kafka", config)
}
