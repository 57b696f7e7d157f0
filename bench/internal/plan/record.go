package plan

import (
	"time"

	"roadstead.dev/bench/internal/load"
	"roadstead.dev/bench/internal/meter"
	"roadstead.dev/bench/internal/peer"
)

// Record is one line of results.jsonl: one run of one peer.
type Record struct {
	At       time.Time     `json:"at"`
	Repeat   int           `json:"repeat"` // from 1
	Peer     peer.Facts    `json:"peer"`
	Group    string        `json:"group"`
	Run      string        `json:"run"`
	Title    string        `json:"title"`
	Schedule load.Schedule `json:"schedule"`
	// Load is the load average of the machine just before.
	Load float64 `json:"load"`

	Acked     float64 `json:"ackedPerSecond"`
	Received  float64 `json:"receivedPerSecond"`
	Confirmed float64 `json:"confirmedPerSecond"`
	Failed    uint64  `json:"failed"` // sends and acks
	Error     string  `json:"error,omitempty"`

	Send     Latency `json:"send"`
	EndToEnd Latency `json:"endToEnd"`

	ServerCPU float64 `json:"serverCPUSecondsPerMillion"`
	ClientCPU float64 `json:"clientCPUSecondsPerMillion"`
	Memory    float64 `json:"memoryMiB"`   // of the nodes, proportional set size
	Resident  float64 `json:"residentMiB"` // of the nodes
	Flushes   float64 `json:"flushesPerSecond"`
	Written   float64 `json:"writtenBytesPerMessage"`
}

// Latency is in milliseconds.
type Latency struct {
	P50       float64 `json:"p50"`
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	P999      float64 `json:"p999"`
	Max       float64 `json:"max"`
	Histogram string  `json:"histogram"` // HdrHistogram V2, base64, microseconds
}

func latency(h load.Histogram) (Latency, error) {
	text, err := h.Text()
	return Latency{
		P50: h.Ms(0.5), P95: h.Ms(0.95), P99: h.Ms(0.99), P999: h.Ms(0.999), Max: h.Ms(1),
		Histogram: text,
	}, err
}

// fill puts in what was measured in so many seconds, and what it cost.
func (r *Record) fill(result load.Result, cost meter.Cost) error {
	seconds := r.Schedule.Duration.Seconds()
	r.Acked = float64(result.Acked) / seconds
	r.Received = float64(result.Received) / seconds
	r.Confirmed = float64(result.Confirmed) / seconds
	r.Failed, r.Error = result.Failed, result.Error
	if result.Acked > 0 {
		// The window of the counters is a little longer than that of the messages.
		millions := r.Acked * cost.Seconds / 1e6
		r.ServerCPU, r.ClientCPU = cost.Server/millions, cost.Client/millions
		r.Written = float64(cost.Written) / (millions * 1e6)
	}
	r.Flushes = float64(cost.Flushes) / cost.Seconds
	r.Memory = float64(cost.Memory.Proportional) / (1 << 20)
	r.Resident = float64(cost.Memory.Resident) / (1 << 20)
	var err error
	if r.Send, err = latency(result.Send); err != nil {
		return err
	}
	r.EndToEnd, err = latency(result.EndToEnd)
	return err
}
