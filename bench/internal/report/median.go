package report

import (
	"slices"

	"roadstead.dev/bench/internal/peer"
	"roadstead.dev/bench/internal/plan"
)

// Spread is a figure over all repeats.
type Spread struct {
	Median, Low, High float64
	Repeats           int
}

// spread of some values; zero where there is none.
func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return Spread{median, sorted[0], sorted[len(sorted)-1], len(sorted)}
}

// Results are records by peer and run, in the order in which they came.
type Results struct {
	Peers   []peer.Facts
	Runs    []plan.Record // one of each, for its title and group
	records map[[2]string][]plan.Record
}

// Gather sorts records: runs by their group first.
func Gather(all []plan.Record) Results {
	r := Results{records: map[[2]string][]plan.Record{}}
	for _, record := range all {
		known := func(facts peer.Facts) bool { return facts.Name == record.Peer.Name }
		if !slices.ContainsFunc(r.Peers, known) {
			r.Peers = append(r.Peers, record.Peer)
		}
		same := func(run plan.Record) bool { return run.Run == record.Run }
		if !slices.ContainsFunc(r.Runs, same) {
			r.Runs = append(r.Runs, record)
		}
		key := [2]string{record.Peer.Name, record.Run}
		r.records[key] = append(r.records[key], record)
	}
	slices.SortStableFunc(r.Runs, func(a, b plan.Record) int {
		return slices.Index(plan.Groups, a.Group) - slices.Index(plan.Groups, b.Group)
	})
	return r
}

// Of is a figure of a run of a peer; false where it was not done.
func (r Results) Of(peer, run string, figure func(plan.Record) float64) (Spread, bool) {
	records := r.records[[2]string{peer, run}]
	var values []float64
	for _, record := range records {
		values = append(values, figure(record))
	}
	return spread(values), len(values) > 0
}

// Missed says whether in most repeats less than so much of the rate was acked.
func (r Results) Missed(peer, run string) bool {
	reached, found := r.Of(peer, run, func(record plan.Record) float64 {
		if record.Schedule.Rate == 0 {
			return 1
		}
		return record.Acked / record.Schedule.Rate
	})
	return found && reached.Median < reach
}

// reach is the share of a rate from which on it counts as reached.
const reach = 0.95
