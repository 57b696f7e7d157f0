package report

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"roadstead.dev/bench/internal/load"
	"roadstead.dev/bench/internal/peer"
	"roadstead.dev/bench/internal/plan"
)

// record of a closed loop, or at a rate.
func record(name, group string, acked, p99, rate float64) plan.Record {
	return plan.Record{
		Peer: peer.Facts{Name: name, Title: strings.ToUpper(name)}, Group: group, Run: group,
		Title: "run " + group, Acked: acked, EndToEnd: plan.Latency{P50: p99 / 2, P99: p99},
		Schedule: load.Schedule{Rate: rate, Size: 1_024, Queues: 1, Partitions: 8}, ServerCPU: 10,
	}
}

func sample() Results {
	return Gather([]plan.Record{
		record("roadstead", "rates", 2_000, 4, 2_000),
		record("roadstead", "closed", 40_000, 20, 0),
		record("roadstead", "closed", 50_000, 25, 0),
		record("roadstead", "closed", 30_000, 15, 0),
		record("slow", "closed", 10_000, 100, 0),
		record("slow", "rates", 1_000, 8, 2_000),
	})
}

func TestAMedianHasItsLowestAndHighest(t *testing.T) {
	if got := spread([]float64{3, 1, 2}); (got != Spread{2, 1, 3, 3}) {
		t.Errorf("%+v", got)
	}
	if got := spread([]float64{4, 1}); (got != Spread{2.5, 1, 4, 2}) {
		t.Errorf("%+v", got)
	}
}

func TestTheTableSaysHowManyTimesBetter(t *testing.T) {
	table := Table(sample())
	for _, words := range []string{
		"| | ROADSTEAD | SLOW |",
		"| run closed: messages/s | 40,000 (30,000 to 50,000) | 10,000 ×4.00 |",
		"| run closed: p99 ms | 20.0 (15.0 to 25.0) | 100 ×5.00 |",
		"| run rates: p99 ms | 4.00 | 8.00† ×2.00 |",
		"†: less than 95 %",
	} {
		if !strings.Contains(table, words) {
			t.Errorf("%q is not in\n%s", words, table)
		}
	}
	if strings.Index(table, "run closed") > strings.Index(table, "run rates") {
		t.Error("the closed loop is not first")
	}
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for n, want := range map[float64]string{
		1_234_567: "1,234,567", 40_123.4: "40,123", 123.4: "123", 12.34: "12.3", 1.234: "1.23",
	} {
		if got := Number(n); got != want {
			t.Errorf("%f is %s", n, got)
		}
	}
}

func TestResultsAreReadBack(t *testing.T) {
	var lines bytes.Buffer
	for _, name := range []string{"a", "b"} {
		if err := Append(&lines, record(name, "closed", 1, 2, 0)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "results.jsonl")
	if err := os.WriteFile(path, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := Read(path)
	if err != nil || len(back) != 2 || back[1].Peer.Name != "b" || back[0].EndToEnd.P99 != 2 {
		t.Errorf("%v, %v", back, err)
	}
	if err := os.WriteFile(path, []byte("{}\nhello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "results.jsonl:2") {
		t.Errorf("a line that is none: %v", err)
	}
}

func TestThereIsAPlotForWhatWasMeasured(t *testing.T) {
	folder := t.TempDir()
	if err := Plots(folder, sample()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"throughput-p99.svg": true, "throughput-p99.png": true, "cpu.svg": true, "queues.svg": false,
	} {
		info, err := os.Stat(filepath.Join(folder, name))
		if (err == nil && info.Size() > 1_000) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
