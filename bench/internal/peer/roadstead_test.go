package peer

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"roadstead.dev/bench/internal/load"
)

func TestAScheduleIsSaidInTheWordsOfRoadsteadBench(t *testing.T) {
	schedule := load.Schedule{
		Queues: 10, Partitions: 1, Producers: 2, Consumers: 3, Size: 128,
		WarmUp: time.Second, Duration: 1_500 * time.Millisecond,
	}
	for want, set := range map[string]func(*load.Schedule){
		"--rate 9000":       func(s *load.Schedule) { s.Rate = 9_000 },
		"--outstanding 500": func(s *load.Schedule) { s.Outstanding = 500 },
		"--batch 100":       func(s *load.Schedule) { s.Batch = 100 },
	} {
		one := schedule
		set(&one)
		words := strings.Join(benchWords(one), " ")
		for _, part := range []string{
			"--queues 10 --partitions 1 --producers 2 --consumers 3 --size 128",
			"--warmup 1000ms --duration 1500ms", want,
		} {
			if !strings.Contains(words, part) {
				t.Errorf("%q is not in %q", part, words)
			}
		}
	}
}

func TestWhatRoadsteadBenchPrintsIsUnderstood(t *testing.T) {
	text := `{"sent": 3, "received": 2, "acked": 1, "failed": 4, "unsettled": 5, "rate": 0,
		"sendHistogram": [[100, 3]], "endToEndHistogram": [[2000, 1], [3000, 1]]}`
	var found report
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		t.Fatal(err)
	}
	result, err := found.result()
	if err != nil {
		t.Fatal(err)
	}
	if result.Confirmed != 3 || result.Received != 2 || result.Acked != 1 || result.Failed != 9 {
		t.Errorf("%+v", result)
	}
	if result.Send.Ms(0.5) != 0.1 || result.EndToEnd.Count() != 2 || result.EndToEnd.Ms(0.5) != 2 {
		t.Errorf("p50 %f and %f", result.Send.Ms(0.5), result.EndToEnd.Ms(0.5))
	}
}
