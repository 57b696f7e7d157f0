// Package report makes tables and plots of what was measured.
package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"roadstead.dev/bench/internal/plan"
)

// Append writes a record as a line of JSON.
func Append(to io.Writer, record plan.Record) error {
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(to, "%s\n", text); err != nil {
		return fmt.Errorf("cannot keep a result: %w", err)
	}
	return nil
}

// longest is more than a line with its histograms has, in bytes.
const longest = 1 << 20

// Read reads what Append wrote.
func Read(path string) ([]plan.Record, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("there are no results yet: %w", err)
	}
	defer file.Close()
	var all []plan.Record
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, longest)
	for number := 1; lines.Scan(); number++ {
		var record plan.Record
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		all = append(all, record)
	}
	return all, lines.Err()
}
