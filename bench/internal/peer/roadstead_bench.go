package peer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"roadstead.dev/bench/internal/load"
)

// measuring is how `roadstead bench` says, on stderr, that its window begins.
const measuring = "measuring for"

// benchWords are the arguments of `roadstead bench` for a schedule.
func benchWords(s load.Schedule) []string {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }
	words := []string{"bench", "--histograms", "--linger", "0ms",
		"--queues", fmt.Sprint(s.Queues), "--partitions", fmt.Sprint(s.Partitions),
		"--producers", fmt.Sprint(s.Producers), "--consumers", fmt.Sprint(s.Consumers),
		"--size", fmt.Sprint(s.Size),
		"--warmup", seconds(s.WarmUp), "--duration", seconds(s.Duration)}
	switch {
	case s.Rate > 0:
		return append(words, "--rate", fmt.Sprintf("%.0f", s.Rate))
	case s.Outstanding > 0:
		return append(words, "--outstanding", fmt.Sprint(s.Outstanding))
	default:
		return append(words, "--batch", fmt.Sprint(s.Batch))
	}
}

// report is what `roadstead bench` prints.
type report struct {
	Sent, Received, Acked uint64
	Failed, Unsettled     uint64
	SendHistogram         [][2]int64
	EndToEndHistogram     [][2]int64
}

func (r report) result() (load.Result, error) {
	send, err := load.Of(r.SendHistogram)
	if err != nil {
		return load.Result{}, err
	}
	endToEnd, err := load.Of(r.EndToEndHistogram)
	return load.Result{
		Confirmed: r.Sent,
		Received:  r.Received,
		Acked:     r.Acked,
		Failed:    r.Failed + r.Unsettled,
		Send:      send,
		EndToEnd:  endToEnd,
	}, err
}

// runBench runs it, and calls begun with its process when its window begins.
func runBench(
	ctx context.Context, binary string, words []string, begun func(int),
) (load.Result, error) {
	command := exec.CommandContext(ctx, binary, words...)
	command.Env = plain()
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = polite
	var out bytes.Buffer
	command.Stdout = &out
	notes, err := command.StderrPipe()
	if err != nil {
		return load.Result{}, err
	}
	if err := command.Start(); err != nil {
		return load.Result{}, err
	}
	var said []string
	for lines := bufio.NewScanner(notes); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), measuring) {
			begun(command.Process.Pid)
			continue
		}
		said = append(said, lines.Text())
	}
	err = command.Wait()
	var found report
	if broken := json.Unmarshal(out.Bytes(), &found); broken != nil {
		return load.Result{}, fmt.Errorf("%s %s: %w: %s", binary, strings.Join(words, " "), err,
			strings.Join(said, "; "))
	}
	// It fails where sends failed, and has measured nevertheless.
	result, err := found.result()
	result.Error = strings.Join(said, "; ")
	return result, err
}
