// Bench measures Roadstead beside other queues, all on this machine and in the same run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"roadstead.dev/bench/internal/peer"
	"roadstead.dev/bench/internal/plan"
	"roadstead.dev/bench/internal/report"
)

// options are what the command line says.
type options struct {
	only, runs              string
	repeats                 int
	duration, warmUp        time.Duration
	binaries, data, results string
	again                   bool
}

func parse() options {
	var o options
	flag.StringVar(&o.only, "only", "", "peers, comma-separated; all where empty")
	flag.StringVar(&o.runs, "runs", "", "groups of runs, comma-separated; all where empty: "+
		strings.Join(plan.Groups, ", "))
	flag.IntVar(&o.repeats, "repeats", 3, "how often each run is done")
	flag.DurationVar(&o.duration, "duration", 8*time.Second, "how long each run is measured")
	flag.DurationVar(&o.warmUp, "warm-up", 2*time.Second, "how long it runs before that")
	flag.StringVar(&o.binaries, "binaries", "", "folder of roadstead and roadstead-node")
	flag.StringVar(&o.data, "data", "", "folder for the data of clusters; it is removed again")
	flag.StringVar(&o.results, "results", "", "folder for results")
	flag.BoolVar(&o.again, "again", false, "measure nothing: print and plot the results there are")
	flag.Parse()
	return o
}

func main() {
	o := parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if err := os.MkdirAll(o.results, 0o755); err != nil {
		return err
	}
	lines := filepath.Join(o.results, "results.jsonl")
	var skipped []plan.Skipped
	if !o.again {
		var err error
		if skipped, err = measure(ctx, o, lines); err != nil {
			return err
		}
	}
	return report.Write(o.results, lines, skipped)
}

func measure(ctx context.Context, o options, lines string) ([]plan.Skipped, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	peers, err := chosen(peer.All(filepath.Join(cache, "roadstead-bench"), o.binaries), o.only)
	if err != nil {
		return nil, err
	}
	base := plan.Base(o.warmUp, o.duration)
	runs, err := plan.Runs(names(o.runs), base)
	if err != nil {
		return nil, err
	}
	old, _ := filepath.Glob(filepath.Join(o.results, "*.log"))
	for _, log := range old {
		os.Remove(log)
	}
	out, err := os.Create(lines)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	began := time.Now()
	campaign := plan.Campaign{
		Peers: peers, Runs: runs, Repeats: o.repeats, Base: base,
		Folder: o.data, Logs: o.results,
		Say: func(format string, values ...any) {
			fmt.Fprintf(os.Stderr, "%6.0f s  %s\n", time.Since(began).Seconds(),
				fmt.Sprintf(format, values...))
		},
		Keep: func(record plan.Record) error { return report.Append(out, record) },
	}
	each := o.warmUp + o.duration + 3*time.Second
	total := time.Duration(o.repeats*len(peers)) * (time.Duration(len(runs)+1)*each + 20*time.Second)
	campaign.Say("%d peers, %d runs, %d repeats: about %.0f minutes", len(peers), len(runs),
		o.repeats, total.Minutes())
	skipped, err := campaign.Carry(ctx)
	os.Remove(o.data) // empty by now, or it holds what is not ours
	return skipped, err
}

// names in a list; none where it is empty.
func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// chosen are the peers that are named; "kafka" and "nats" alone mean the one that fsyncs.
func chosen(all []peer.Peer, only string) ([]peer.Peer, error) {
	wanted := names(only)
	if len(wanted) == 0 {
		return all, nil
	}
	var some []peer.Peer
	var known []string
	for _, one := range all {
		known = append(known, one.Facts().Name)
		if slices.Contains(wanted, one.Facts().Name) {
			some = append(some, one)
		}
	}
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no peer %q; there are %s", name,
				strings.Join(known, ", "))
		}
	}
	return some, nil
}
