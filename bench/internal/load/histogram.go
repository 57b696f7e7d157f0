package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Of all latencies: microseconds up to a minute, to three digits; `roadstead bench` has the same.
const (
	lowest  = 1
	highest = 60_000_000
	digits  = 3
)

// Histogram holds latencies.
type Histogram struct {
	of *hdrhistogram.Histogram
}

// NewHistogram is empty.
func NewHistogram() Histogram {
	return Histogram{hdrhistogram.New(lowest, highest, digits)}
}

// Of makes a histogram of [microseconds, count] pairs.
func Of(buckets [][2]int64) (Histogram, error) {
	h := NewHistogram()
	for _, bucket := range buckets {
		if err := h.of.RecordValues(min(bucket[0], highest), bucket[1]); err != nil {
			return h, err
		}
	}
	return h, nil
}

// Record takes in one latency; more than a minute counts as a minute.
func (h Histogram) Record(latency time.Duration) {
	// Within the bounds there is no error.
	_ = h.of.RecordValue(min(max(latency.Microseconds(), lowest), highest))
}

// Add takes in another histogram.
func (h Histogram) Add(other Histogram) { h.of.Merge(other.of) }

// Count is the number of latencies.
func (h Histogram) Count() int64 { return h.of.TotalCount() }

// Ms is the latency in milliseconds that this share (0.99) of all does not exceed; 0 when there is
// none.
func (h Histogram) Ms(quantile float64) float64 {
	return float64(h.of.ValueAtPercentile(quantile*100)) / 1_000
}

// Text is the histogram as HdrHistogram's compressed V2 format in base64, which its tools read.
func (h Histogram) Text() (string, error) {
	text, err := h.of.EncodeV2()
	return string(text), err
}

// Parse reads what Text wrote.
func Parse(text string) (Histogram, error) {
	h, err := hdrhistogram.Decode([]byte(text))
	return Histogram{h}, err
}
