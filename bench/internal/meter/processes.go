// Package meter reads what processes and devices used, from /proc and /sys.
package meter

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc/PID/stat; Linux has had no other for user space.
const tick = 10 * time.Millisecond

// process is what /proc/PID/stat says of one.
type process struct {
	id, parent int
	cpu        time.Duration // in user and kernel mode, with that of children that ended
}

// parseStat reads /proc/PID/stat. The name in it may hold spaces and brackets.
func parseStat(text string) (process, error) {
	head, rest, found := strings.Cut(text, " (")
	last := strings.LastIndexByte(rest, ')')
	if !found || last < 0 {
		return process{}, fmt.Errorf("no name in %q", text)
	}
	// From the third field on: state, parent, …; times are the fields 14 to 17.
	fields := strings.Fields(rest[last+1:])
	if len(fields) < 15 {
		return process{}, fmt.Errorf("only %d fields in %q", len(fields), text)
	}
	var p process
	var err error
	if p.id, err = strconv.Atoi(head); err != nil {
		return p, err
	}
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return p, err
	}
	for _, field := range fields[11:15] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return p, err
		}
		p.cpu += time.Duration(ticks) * tick
	}
	return p, nil
}

// running is all processes; those that end meanwhile are left out.
func running() []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var all []process
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if p, err := parseStat(string(text)); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// family is these processes with all their descendants.
func family(all []process, ids []int) []process {
	wanted := map[int]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	for more := true; more; {
		more = false
		for _, p := range all {
			if wanted[p.parent] && !wanted[p.id] {
				wanted[p.id], more = true, true
			}
		}
	}
	var found []process
	for _, p := range all {
		if wanted[p.id] {
			found = append(found, p)
		}
	}
	return found
}

// Memory is of processes, in bytes. Resident counts a shared page for each, Proportional once.
type Memory struct {
	Resident, Proportional int64
}

// MemoryOf is what these processes and their descendants have now.
func MemoryOf(ids ...int) Memory {
	var sum Memory
	for _, p := range family(running(), ids) {
		one := rollup(fmt.Sprintf("/proc/%d/smaps_rollup", p.id))
		sum.Resident += one.Resident
		sum.Proportional += one.Proportional
	}
	return sum
}

func rollup(path string) Memory {
	file, err := os.Open(path)
	if err != nil {
		return Memory{}
	}
	defer file.Close()
	return parseRollup(bufio.NewScanner(file))
}

func parseRollup(lines *bufio.Scanner) Memory {
	var found Memory
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "Rss:":
			found.Resident = kib << 10
		case "Pss:":
			found.Proportional = kib << 10
		}
	}
	return found
}
