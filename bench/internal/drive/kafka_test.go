package drive

import "testing"

// The members of a share group are those of a run, though each reads other queues of it.
func TestAShareGroupIsOfTheWholeRun(t *testing.T) {
	one, other := group([]string{"queues-10-3-0", "queues-10-3-2"}), group([]string{"queues-10-3-1"})
	if one != other || one != "workers-queues-10-3" {
		t.Errorf("%s and %s", one, other)
	}
}
