package plan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"roadstead.dev/bench/internal/load"
	"roadstead.dev/bench/internal/meter"
	"roadstead.dev/bench/internal/peer"
)

func TestRunsAreChosenByTheirGroup(t *testing.T) {
	base := Base(time.Second, time.Second)
	every, err := Runs(nil, base)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, run := range every {
		if names[run.Name] {
			t.Errorf("%s is there twice", run.Name)
		}
		names[run.Name] = true
		if run.OfClosed > 0 {
			run.Rate = 1
		}
		if err := run.Check(); err != nil {
			t.Errorf("%s: %v", run.Name, err)
		}
	}
	for _, group := range Groups {
		if some, err := Runs([]string{group}, base); err != nil || len(some) == 0 {
			t.Errorf("%s: %d runs, %v", group, len(some), err)
		}
	}
	if _, err := Runs([]string{"fast"}, base); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a group that is none: %v", err)
	}
}

func TestARecordSaysWhatAMessageCosts(t *testing.T) {
	record := Record{Schedule: load.Schedule{Duration: 2 * time.Second}}
	result := load.NewResult()
	result.Acked = 1_000
	result.EndToEnd.Record(3 * time.Millisecond)
	cost := meter.Cost{Seconds: 4, Server: 0.1, Client: 0.02, Written: 4_000_000, Flushes: 40}
	cost.Memory.Proportional = 3 << 20
	if err := record.fill(result, cost); err != nil {
		t.Fatal(err)
	}
	// 500/s over 4 s are 2,000 messages.
	got := fmt.Sprintf("%.0f %.0f %.0f %.0f %.0f %.0f", record.Acked, record.ServerCPU,
		record.ClientCPU, record.Written, record.Flushes, record.Memory)
	if got != "500 50 10 2000 10 3" {
		t.Error(got)
	}
	if record.EndToEnd.P99 < 3 || record.EndToEnd.Histogram == "" {
		t.Errorf("%+v", record.EndToEnd)
	}
}

// fake is a peer that does 100/s in every run.
type fake struct {
	facts   peer.Facts
	missing error
	rates   []float64
	stopped int
}

func (f *fake) Facts() peer.Facts         { return f.facts }
func (f *fake) Get(context.Context) error { return f.missing }
func (f *fake) Start(context.Context, string) (peer.Cluster, error) {
	return f, nil
}
func (f *fake) Servers() []int { return []int{os.Getpid()} }
func (f *fake) Stop()          { f.stopped++ }
func (f *fake) Run(
	_ context.Context, schedule load.Schedule, name string, begun func(int),
) (load.Result, error) {
	f.rates = append(f.rates, schedule.Rate)
	if strings.HasPrefix(name, "one") {
		return load.Result{}, errors.New("it broke")
	}
	begun(os.Getpid())
	result := load.NewResult()
	result.Acked = uint64(100 * schedule.Duration.Seconds())
	return result, nil
}

func TestWhatCannotBeMeasuredIsSkippedByName(t *testing.T) {
	good := &fake{facts: peer.Facts{Name: "good", Queues: 10, Why: "it is small"}}
	gone := &fake{facts: peer.Facts{Name: "gone"}, missing: errors.New("no Java here")}
	base := Base(0, 50*time.Millisecond)
	runs, err := Runs([]string{"closed", "one", "rates", "queues", "partitions"}, base)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	var kept []string
	campaign := Campaign{
		Peers: []peer.Peer{gone, good}, Runs: runs, Repeats: 2, Base: base,
		Folder: folder, Logs: t.TempDir(), Say: t.Logf,
		Keep: func(record Record) error {
			kept = append(kept, record.Run)
			return nil
		},
	}
	skipped, err := campaign.Carry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprint(skipped)
	for _, words := range []string{
		"{gone no Java here}", "{good one in repeat 1 it broke}", "it is small",
		"{good partitions-64 its queues have no partitions}",
	} {
		if !strings.Contains(said, words) {
			t.Errorf("%q is not in %s", words, said)
		}
	}
	if strings.Count(said, "partitions-64") != 1 {
		t.Errorf("named more than once: %s", said)
	}
	want := "closed rate-2000 rate-9000 share-50 queues-10"
	if got := strings.Join(kept, " "); got != want+" "+want {
		t.Errorf("kept %s", got)
	}
	if half := good.rates[5]; half < 49 || half > 51 {
		t.Errorf("half of the closed loop is %v of %v", half, good.rates)
	}
	left, _ := os.ReadDir(folder)
	if good.stopped != 2 || len(left) > 0 {
		t.Errorf("stopped %d times, left %v", good.stopped, left)
	}
}
