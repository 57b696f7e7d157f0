package load

import (
	"testing"
	"time"
)

func TestLatenciesAreKeptWithinBounds(t *testing.T) {
	h := NewHistogram()
	for _, latency := range []time.Duration{0, 2 * time.Millisecond, 999 * time.Second} {
		h.Record(latency)
	}
	if h.Count() != 3 || h.Ms(0.5) < 2 || h.Ms(0.5) > 2.01 {
		t.Errorf("%d latencies, p50 %f", h.Count(), h.Ms(0.5))
	}
	if most := h.Ms(1); most < 60_000 || most > 60_100 {
		t.Errorf("more than a minute is %f ms", most)
	}
}

func TestAHistogramIsReadBack(t *testing.T) {
	h := NewHistogram()
	for i := range 10_000 {
		h.Record(time.Duration(i*i) * time.Microsecond)
	}
	text, err := h.Text()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []float64{0, 0.5, 0.99, 0.999, 1} {
		if h.Ms(q) != back.Ms(q) || h.Count() != back.Count() {
			t.Errorf("at %f: %f, and read back %f", q, h.Ms(q), back.Ms(q))
		}
	}
}

// What `roadstead bench` tells, value by value, gives the histogram that it has.
func TestAHistogramIsMadeOfBuckets(t *testing.T) {
	h, err := Of([][2]int64{{7, 2}, {1_500, 97}, {2_000_000, 1}})
	if err != nil {
		t.Fatal(err)
	}
	if h.Count() != 100 || h.Ms(0.5) != 1.5 || h.Ms(1) < 2_000 || h.Ms(1) > 2_001 {
		t.Errorf("%d latencies, p50 %f, max %f", h.Count(), h.Ms(0.5), h.Ms(1))
	}
}
