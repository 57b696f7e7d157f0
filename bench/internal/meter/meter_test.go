package meter

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"
)

func TestAProcessMayHaveAnyName(t *testing.T) {
	text := "4711 (a) (b c) S 42 4711 4711 0 -1 4194560 1 0 0 0 150 50 7 3 20 0 9 0 100"
	p, err := parseStat(text)
	want := process{id: 4711, parent: 42, cpu: 2_100 * time.Millisecond}
	if err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 1 2"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestDescendantsCount(t *testing.T) {
	all := []process{{id: 9, parent: 3}, {id: 1}, {id: 2, parent: 1}, {id: 3, parent: 2}, {id: 4}}
	if found := family(all, []int{2}); len(found) != 3 {
		t.Errorf("%v", found)
	}
}

func TestMemoryIsReadFromTheRollup(t *testing.T) {
	text := "5500-7ff [rollup]\nRss:   2048 kB\nPss:  1024 kB\nPss_Dirty: 7 kB\n"
	found := parseRollup(bufio.NewScanner(strings.NewReader(text)))
	if (found != Memory{Resident: 2 << 20, Proportional: 1 << 20}) {
		t.Errorf("%+v", found)
	}
}

func TestADeviceCountsWhatItWroteAndFlushed(t *testing.T) {
	text := "1 2 3 4 5 6 100 8 9 10 11 12 13 14 15 77 17"
	if found := parseDisk(text); (found != Used{Written: 51_200, Flushes: 77}) {
		t.Errorf("%+v", found)
	}
}

// The process's own CPU and memory are seen in a window.
func TestAWindowCostsWhatIsUsedInIt(t *testing.T) {
	self := os.Getpid()
	watch := Watch(t.Context(), []int{self}, self, Disk{}, 300*time.Millisecond)
	for end := time.Now().Add(250 * time.Millisecond); time.Now().Before(end); {
	}
	cost := <-watch
	if cost.Server < 0.02 || cost.Client < 0.02 || cost.Memory.Resident < 1<<20 {
		t.Errorf("%+v", cost)
	}
}
