package meter

import (
	"context"
	"time"
)

// Cost is what was used between two moments.
type Cost struct {
	Seconds float64 // between them
	Server  float64 // CPU seconds
	Client  float64 // CPU seconds
	Written int64   // bytes, by everything on the device
	Flushes int64   // by everything on the device
	Memory  Memory  // of the servers, at the end
}

// reading is the counters at one moment.
type reading struct {
	at             time.Time
	server, client time.Duration
	disk           Used
}

func read(servers []int, client int, disk Disk) reading {
	all := running()
	sum := func(ids ...int) (sum time.Duration) {
		for _, p := range family(all, ids) {
			sum += p.cpu
		}
		return sum
	}
	r := reading{at: time.Now(), server: sum(servers...), disk: disk.Used()}
	// The load generator may be the parent of the servers: their time is not its own.
	for _, p := range all {
		if p.id == client {
			r.client = p.cpu
		}
	}
	return r
}

// Watch measures for so long from now on. The cost is there when it is over, or the context.
func Watch(
	ctx context.Context, servers []int, client int, disk Disk, d time.Duration,
) <-chan Cost {
	found := make(chan Cost, 1)
	before := read(servers, client, disk)
	go func() {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
		after := read(servers, client, disk)
		found <- Cost{
			Seconds: after.at.Sub(before.at).Seconds(),
			Server:  (after.server - before.server).Seconds(),
			Client:  (after.client - before.client).Seconds(),
			Written: after.disk.Written - before.disk.Written,
			Flushes: after.disk.Flushes - before.disk.Flushes,
			Memory:  MemoryOf(servers...),
		}
	}()
	return found
}
