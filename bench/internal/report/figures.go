package report

import "roadstead.dev/bench/internal/plan"

// figure is one row that a run has in the table.
type figure struct {
	title string
	of    func(plan.Record) float64
	// more says that more is better.
	more bool
}

var (
	throughput = figure{"messages/s", func(r plan.Record) float64 { return r.Acked }, true}
	p50        = figure{"p50 ms", func(r plan.Record) float64 { return r.EndToEnd.P50 }, false}
	p99        = figure{"p99 ms", func(r plan.Record) float64 { return r.EndToEnd.P99 }, false}
	confirmed  = figure{"confirmed/s", func(r plan.Record) float64 { return r.Confirmed }, true}
	confirmP99 = figure{"confirm p99 ms", func(r plan.Record) float64 { return r.Send.P99 }, false}
	serverCPU  = figure{"server CPU s per million",
		func(r plan.Record) float64 { return r.ServerCPU }, false}
	clientCPU = figure{"client CPU s per million",
		func(r plan.Record) float64 { return r.ClientCPU }, false}
	memory = figure{"memory of three nodes, MiB",
		func(r plan.Record) float64 { return r.Memory }, false}
	flushes = figure{"device flushes per 1,000 messages",
		func(r plan.Record) float64 { return r.Flushes / r.Acked * 1_000 }, false}
	written = figure{"bytes written per message",
		func(r plan.Record) float64 { return r.Written }, false}
)

// figures are the rows of a run, by its group.
func figures(group string) []figure {
	switch group {
	case "closed":
		return []figure{throughput, p50, p99, serverCPU, clientCPU, memory, flushes, written}
	case "one":
		return []figure{p50, p99}
	case "rates", "sweep":
		return []figure{p50, p99, serverCPU}
	case "batch":
		// How long they wait for a consumer is not bounded there.
		return []figure{confirmed, confirmP99}
	case "queues":
		return []figure{throughput, p99, memory}
	default:
		return []figure{throughput, serverCPU}
	}
}
