package load

import (
	"sync"
	"time"
)

// Result is what a run measured inside its window.
type Result struct {
	Confirmed uint64
	Received  uint64
	Acked     uint64
	Failed    uint64 // sends and acks, also outside the window
	Error     string // the first of them
	Send      Histogram
	EndToEnd  Histogram
}

// NewResult is empty.
func NewResult() Result {
	return Result{Send: NewHistogram(), EndToEnd: NewHistogram()}
}

// meter measures one producer or consumer.
type meter struct {
	window Window
	mu     sync.Mutex
	result Result
}

func newMeter(window Window) *meter {
	return &meter{window: window, result: NewResult()}
}

func (m *meter) confirmed(due time.Time, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed(err) || !m.window.Measures(now) {
		return
	}
	m.result.Confirmed++
	m.result.Send.Record(now.Sub(due))
}

func (m *meter) received(due time.Time) {
	now := time.Now()
	if !m.window.Measures(now) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.result.Received++
	m.result.EndToEnd.Record(now.Sub(due))
}

func (m *meter) acked(err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.failed(err) && m.window.Measures(now) {
		m.result.Acked++
	}
}

func (m *meter) failed(err error) bool {
	if err == nil {
		return false
	}
	m.result.Failed++
	if m.result.Error == "" {
		m.result.Error = err.Error()
	}
	return true
}

func (m *meter) addTo(all *Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all.Confirmed += m.result.Confirmed
	all.Received += m.result.Received
	all.Acked += m.result.Acked
	all.Failed += m.result.Failed
	if all.Error == "" {
		all.Error = m.result.Error
	}
	all.Send.Add(m.result.Send)
	all.EndToEnd.Add(m.result.EndToEnd)
}
