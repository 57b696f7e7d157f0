package report

import (
	"fmt"
	"strings"

	"roadstead.dev/bench/internal/plan"
)

// ours is whom the ratios compare the others with.
const ours = "roadstead"

// Table is all figures in Markdown: medians with the lowest and the highest, and how many times
// better Roadstead is.
func Table(results Results) string {
	var text strings.Builder
	text.WriteString("| |")
	for _, peer := range results.Peers {
		fmt.Fprintf(&text, " %s |", peer.Title)
	}
	text.WriteString("\n|---|" + strings.Repeat("--:|", len(results.Peers)) + "\n")
	missed := false
	for _, run := range results.Runs {
		for _, figure := range figures(run.Group) {
			fmt.Fprintf(&text, "| %s: %s |", run.Title, figure.title)
			for _, peer := range results.Peers {
				cell := cell(results, peer.Name, run, figure)
				missed = missed || strings.Contains(cell, mark)
				fmt.Fprintf(&text, " %s |", cell)
			}
			text.WriteString("\n")
		}
	}
	text.WriteString("\nMedian (lowest to highest); × says how many times better Roadstead is.\n")
	if missed {
		fmt.Fprintf(&text, "%s: less than %.0f %% of the rate was acked.\n", mark, reach*100)
	}
	return text.String()
}

// mark is at figures of a rate that was not reached.
const mark = "†"

func cell(results Results, peer string, run plan.Record, figure figure) string {
	found, done := results.Of(peer, run.Run, figure.of)
	if !done {
		return "–"
	}
	text := Number(found.Median)
	if found.Repeats > 1 {
		text += fmt.Sprintf(" (%s to %s)", Number(found.Low), Number(found.High))
	}
	if results.Missed(peer, run.Run) {
		text += mark
	}
	own, known := results.Of(ours, run.Run, figure.of)
	if !known || peer == ours {
		return text
	}
	ratio := found.Median / own.Median
	if figure.more {
		ratio = own.Median / found.Median
	}
	return text + fmt.Sprintf(" ×%s", Number(ratio))
}

// Number has three digits that count, and commas between thousands.
func Number(n float64) string {
	switch {
	case n >= 1_000:
		whole := fmt.Sprintf("%.0f", n)
		for at := len(whole) - 3; at > 0; at -= 3 {
			whole = whole[:at] + "," + whole[at:]
		}
		return whole
	case n >= 100:
		return fmt.Sprintf("%.0f", n)
	case n >= 10:
		return fmt.Sprintf("%.1f", n)
	default:
		return fmt.Sprintf("%.2f", n)
	}
}
