package peer

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// One that ends by itself is named with the end of its log, and waited for no longer.
func TestANodeThatEndsIsNamed(t *testing.T) {
	one, err := start("node-1", t.TempDir(), os.Environ(), "sh", "-c", "echo no disk; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	err = fleet{one}.until(t.Context(), "it serves", func() error { return errors.New("not yet") })
	for _, words := range []string{"node-1", "exit status 3", "no disk"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in %v", words, err)
		}
	}
}

func TestAFleetIsStoppedWithWhatItStarted(t *testing.T) {
	one, err := start("node-1", t.TempDir(), os.Environ(), "sh", "-c", "sleep 60 & wait")
	if err != nil {
		t.Fatal(err)
	}
	fleet{one}.Stop()
	if err := one.alive(); err == nil {
		t.Error("it is still there")
	}
}

func TestPortsDiffer(t *testing.T) {
	found, err := ports(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range found {
		if seen[port] {
			t.Errorf("%d is there twice", port)
		}
		seen[port] = true
	}
}
