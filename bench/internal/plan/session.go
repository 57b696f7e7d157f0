package plan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"roadstead.dev/bench/internal/meter"
	"roadstead.dev/bench/internal/peer"
)

// hang is how long a run may take beside its own time.
const hang = 5 * time.Minute

var errHang = fmt.Errorf("it did not end within %s after its time", hang)

// session is the runs of one repeat on one cluster.
type session struct {
	Campaign
	peer    peer.Peer
	cluster peer.Cluster
	disk    meter.Disk
	repeat  int
	number  int
	closed  float64 // messages a second in the closed loop; 0: not yet known
}

// obstacle says why a run does not apply here; nil where it does.
func (s *session) obstacle(run Run) error {
	facts := s.peer.Facts()
	switch {
	case run.OfClosed > 0 && s.closed == 0:
		return errors.New("its rate is a share of the run closed, which was not done")
	case run.Queues > facts.Queues:
		return fmt.Errorf("not with more than %d queues: %s", facts.Queues, facts.Why)
	case run.Group == "partitions" && !facts.Partitions:
		return errors.New("its queues have no partitions")
	}
	return nil
}

func (s *session) run(ctx context.Context, run Run) (Record, error) {
	if run.OfClosed > 0 {
		run.Rate = s.closed * run.OfClosed
	}
	if !s.peer.Facts().Partitions {
		run.Partitions = 1
	}
	s.number++
	record := Record{
		At: time.Now().UTC().Truncate(time.Second), Repeat: s.repeat, Peer: s.peer.Facts(),
		Group: run.Group, Run: run.Name, Title: run.Title, Schedule: run.Schedule,
		Load: loadAverage(),
	}
	var watch <-chan meter.Cost
	watching := make(chan struct{})
	begun := func(client int) {
		watch = meter.Watch(ctx, s.cluster.Servers(), client, s.disk, run.Duration)
		close(watching)
	}
	name := fmt.Sprintf("%s-%d", run.Name, s.number)
	running, cancel := context.WithTimeoutCause(ctx, run.WarmUp+run.Duration+hang, errHang)
	defer cancel()
	result, err := s.cluster.Run(running, run.Schedule, name, begun)
	if err != nil {
		return record, err
	}
	select {
	case <-watching:
	default:
		return record, errors.New("it ended before its window began")
	}
	if result.Acked == 0 {
		return record, fmt.Errorf("nothing was acked: %s", result.Error)
	}
	if err := record.fill(result, <-watch); err != nil {
		return record, err
	}
	if run.Name == "closed" {
		s.closed = record.Acked
	}
	return record, nil
}

// loadAverage of the last minute.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}
