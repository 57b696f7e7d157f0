package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"roadstead.dev/bench/internal/plan"
)

// Write reads results, prints their table, and writes it and the plots into the folder.
func Write(folder, lines string, skipped []plan.Skipped) error {
	records, err := Read(lines)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return fmt.Errorf("nothing was measured; what was skipped, and why:\n%s", list(skipped))
	}
	results := Gather(records)
	text := about(records, results, skipped) + "\n" + Table(results)
	fmt.Print(text)
	if err := os.WriteFile(filepath.Join(folder, "table.md"), []byte(text), 0o644); err != nil {
		return err
	}
	return Plots(folder, results)
}

// about is what the figures are to be read with.
func about(records []plan.Record, results Results, skipped []plan.Skipped) string {
	var text strings.Builder
	first, last := records[0], records[len(records)-1]
	most := 0.0
	for _, record := range records {
		most = max(most, record.Load)
	}
	fmt.Fprintf(&text, "%s to %s on %s; load average before a run at most %.1f\n\n",
		first.At.Format("2006-01-02 15:04"), last.At.Format("15:04 MST"), Machine(), most)
	fmt.Fprintf(&text, "Three nodes each on loopback, which share the machine with the load; %s "+
		"measured after %s of warm-up.\n\n", first.Schedule.Duration, first.Schedule.WarmUp)
	for _, peer := range results.Peers {
		fmt.Fprintf(&text, "- %s %s, by %s: %s\n", peer.Title, peer.Version, peer.Client,
			peer.Durability)
	}
	if len(skipped) > 0 {
		fmt.Fprintf(&text, "\nSkipped:\n%s", list(skipped))
	}
	return text.String()
}

// whole is how much of a reason is shown, in characters; the rest was said when it happened.
const whole = 300

func list(skipped []plan.Skipped) string {
	var text strings.Builder
	for _, one := range skipped {
		why := []rune(strings.Join(strings.Fields(one.Why), " "))
		fmt.Fprintf(&text, "- %s: %s\n", one.What, string(why[:min(len(why), whole)]))
	}
	return text.String()
}
