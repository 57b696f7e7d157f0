package plan

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"roadstead.dev/bench/internal/load"
	"roadstead.dev/bench/internal/meter"
	"roadstead.dev/bench/internal/peer"
)

// Campaign is all runs on all peers.
type Campaign struct {
	Peers   []peer.Peer
	Runs    []Run
	Repeats int
	// Base is the schedule of the run that is thrown away after each start of a cluster.
	Base load.Schedule
	// Folder is where data goes while a cluster runs; Logs keeps the logs of one that failed.
	Folder, Logs string
	Say          func(format string, values ...any)
	// Keep takes each record as soon as it is there.
	Keep func(Record) error
}

// Skipped is what was not measured, by name, and why.
type Skipped struct {
	What, Why string
}

// Carry does everything: in each repeat one peer after the other. What cannot be done is skipped by
// name; an error is only what ends it all.
func (c Campaign) Carry(ctx context.Context) ([]Skipped, error) {
	var skipped []Skipped
	skip := func(what string, why error) {
		one := Skipped{what, why.Error()}
		if slices.Contains(skipped, one) {
			return // in an earlier repeat
		}
		c.Say("SKIPPED %s: %v", what, why)
		skipped = append(skipped, one)
	}
	var there []peer.Peer
	for _, one := range c.Peers {
		c.Say("getting %s", one.Facts().Name)
		if err := one.Get(ctx); err != nil {
			skip(one.Facts().Name, err)
			continue
		}
		there = append(there, one)
	}
	for repeat := 1; repeat <= c.Repeats; repeat++ {
		for number, one := range there {
			c.Say("repeat %d of %d, %s %s (%d of %d)", repeat, c.Repeats, one.Facts().Name,
				one.Facts().Version, number+1, len(there))
			err := c.measure(ctx, one, repeat, skip)
			if ctx.Err() != nil {
				return skipped, context.Cause(ctx)
			}
			if err != nil {
				skip(fmt.Sprintf("%s in repeat %d", one.Facts().Name, repeat), err)
			}
		}
	}
	return skipped, nil
}

// measure carries out every run on a cluster of its own.
func (c Campaign) measure(
	ctx context.Context, one peer.Peer, repeat int, skip func(string, error),
) error {
	folder := filepath.Join(c.Folder, one.Facts().Name)
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	disk, err := meter.DiskOf(folder)
	if err != nil {
		c.Say("no counters of the device: %v", err)
	}
	since := time.Now()
	cluster, err := one.Start(ctx, folder)
	if err != nil {
		c.keepLogs(folder, one.Facts().Name)
		return fmt.Errorf("it did not start: %w", err)
	}
	defer cluster.Stop()
	c.Say("  started in %.1f s; a first run is thrown away", time.Since(since).Seconds())
	s := session{Campaign: c, peer: one, cluster: cluster, disk: disk, repeat: repeat}
	warm := Run{Name: "warm", Schedule: c.Base}
	warm.Outstanding = outstanding
	if _, err := s.run(ctx, warm); err != nil {
		c.keepLogs(folder, one.Facts().Name)
		return fmt.Errorf("the first run failed: %w", err)
	}
	for number, run := range c.Runs {
		what := one.Facts().Name + " " + run.Name
		if why := s.obstacle(run); why != nil {
			skip(what, why)
			continue
		}
		record, err := s.run(ctx, run)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			c.keepLogs(folder, one.Facts().Name)
			skip(fmt.Sprintf("%s in repeat %d", what, repeat), err)
			continue
		}
		c.Say("  %2d/%d %s", number+1, len(c.Runs), record)
		if err := c.Keep(record); err != nil {
			return err
		}
	}
	return nil
}

// keepLogs copies the logs of the nodes before they go with the data.
func (c Campaign) keepLogs(folder, name string) {
	logs, _ := filepath.Glob(filepath.Join(folder, "*.log"))
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			continue
		}
		to := filepath.Join(c.Logs, name+"-"+filepath.Base(log))
		if err := os.WriteFile(to, text, 0o644); err != nil {
			c.Say("cannot keep %s: %v", to, err)
			return
		}
	}
	c.Say("  logs of its nodes are in %s", c.Logs)
}

// String is a line of progress.
func (r Record) String() string {
	text := fmt.Sprintf("%-14s %9.0f/s  end to end p50 %8.2f p99 %8.2f ms  CPU %5.1f s/M  %5.0f MiB",
		r.Run, r.Acked, r.EndToEnd.P50, r.EndToEnd.P99, r.ServerCPU, r.Memory)
	if r.Failed > 0 {
		text += fmt.Sprintf("  FAILED %d: %s", r.Failed, strings.TrimSpace(r.Error))
	}
	return text
}
