// Package plan says which runs there are, and carries them out on one peer after the other.
package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"roadstead.dev/bench/internal/load"
)

// Run is one measurement.
type Run struct {
	Group string // what RUNS names
	Name  string
	Title string
	load.Schedule
	// OfClosed makes the rate a share of what the peer did in the run `closed` of the same repeat.
	OfClosed float64
}

// Base is what every run has where it says nothing else: 1 KiB bodies, one queue of one partition,
// with which Kafka and Roadstead are fastest.
func Base(warmUp, duration time.Duration) load.Schedule {
	return load.Schedule{
		Queues:     1,
		Partitions: 1,
		Producers:  2,
		Consumers:  2,
		Size:       1 << 10,
		WarmUp:     warmUp,
		Duration:   duration,
	}
}

const (
	// outstanding fills the prefetch of the consumers twice.
	outstanding = 2_000
	// batchers are the producers of the runs that compare batches.
	batchers = 8
)

// Groups are the names that RUNS may have, in the order of the runs.
var Groups = []string{"closed", "one", "rates", "sweep", "sizes", "batch", "queues", "partitions"}

// Runs are all of these groups; none means all.
func Runs(groups []string, base load.Schedule) ([]Run, error) {
	for _, group := range groups {
		if !slices.Contains(Groups, group) {
			return nil, fmt.Errorf("there are no runs %q; there are %s", group,
				strings.Join(Groups, ", "))
		}
	}
	var chosen []Run
	for _, run := range all(base) {
		if len(groups) == 0 || slices.Contains(groups, run.Group) {
			chosen = append(chosen, run)
		}
	}
	return chosen, nil
}

func all(base load.Schedule) []Run {
	closed := base
	closed.Outstanding = outstanding
	one := base
	one.Producers, one.Consumers, one.Outstanding = 1, 1, 1
	runs := []Run{
		{Group: "closed", Name: "closed", Title: "closed loop", Schedule: closed},
		{Group: "one", Name: "one", Title: "one at a time", Schedule: one},
	}
	for _, rate := range []float64{2_000, 9_000} {
		at := base
		at.Rate = rate
		runs = append(runs, Run{Group: "rates", Name: fmt.Sprintf("rate-%.0f", rate),
			Title: fmt.Sprintf("%.0f/s", rate), Schedule: at})
	}
	share := func(group string, of float64) Run {
		return Run{Group: group, Name: fmt.Sprintf("share-%.0f", of*100),
			Title: fmt.Sprintf("%.0f %% of closed loop", of*100), Schedule: base, OfClosed: of}
	}
	runs = append(runs, share("rates", 0.5), share("sweep", 0.25), share("sweep", 0.75),
		share("sweep", 0.9))
	for _, size := range []int{128, 16 << 10} {
		sized := closed
		sized.Size = size
		runs = append(runs, Run{Group: "sizes", Name: fmt.Sprintf("size-%d", size),
			Title: fmt.Sprintf("closed loop, %s", Bytes(size)), Schedule: sized})
	}
	for _, batch := range []int{1, 100} {
		batched := base
		batched.Producers, batched.Batch = batchers, batch
		runs = append(runs, Run{Group: "batch", Name: fmt.Sprintf("batch-%d", batch),
			Title:    fmt.Sprintf("%d producers, %d unconfirmed each", batchers, batch),
			Schedule: batched})
	}
	for _, queues := range []int{10, 100, 1_000} {
		many := closed
		many.Queues = queues
		runs = append(runs, Run{Group: "queues", Name: fmt.Sprintf("queues-%d", queues),
			Title: fmt.Sprintf("closed loop, queues: %d", queues), Schedule: many})
	}
	for _, partitions := range []int{8, 64} {
		split := closed
		split.Partitions = partitions
		runs = append(runs, Run{Group: "partitions", Name: fmt.Sprintf("partitions-%d", partitions),
			Title: fmt.Sprintf("closed loop, partitions: %d", partitions), Schedule: split})
	}
	return runs
}

// Bytes is a size for people.
func Bytes(n int) string {
	if n >= 1<<10 && n%(1<<10) == 0 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
