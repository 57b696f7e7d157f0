package load

import (
	"reflect"
	"testing"
	"time"
)

// small is a schedule that ends soon.
func small() Schedule {
	return Schedule{
		Queues: 1, Partitions: 1, Producers: 1, Consumers: 1, Size: StampBytes,
		WarmUp: 100 * time.Millisecond, Duration: 400 * time.Millisecond,
	}
}

func TestAScheduleHasOneKindOfLoad(t *testing.T) {
	good := small()
	good.Rate = 10
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Schedule){
		"no kind":        func(s *Schedule) { s.Rate = 0 },
		"two kinds":      func(s *Schedule) { s.Batch = 1 },
		"no producer":    func(s *Schedule) { s.Producers = 0 },
		"no room":        func(s *Schedule) { s.Size = StampBytes - 1 },
		"nothing to see": func(s *Schedule) { s.Duration = 0 },
	} {
		bad := good
		spoil(&bad)
		if bad.Check() == nil {
			t.Errorf("%s: nobody minds", name)
		}
	}
}

func TestEveryQueueIsServedAndNobodyIsIdle(t *testing.T) {
	queues := []string{"a", "b", "c", "d", "e"}
	for _, c := range []struct {
		of   int
		from []string
		want [][]string
	}{
		{2, queues, [][]string{{"a", "c", "e"}, {"b", "d"}}},
		{3, queues[:2], [][]string{{"a"}, {"b"}, {"a"}}},
		{2, queues[:1], [][]string{{"a"}, {"a"}}},
	} {
		for number, want := range c.want {
			if got := Share(c.from, number, c.of); !reflect.DeepEqual(got, want) {
				t.Errorf("%d of %d: %v, not %v", number, c.of, got, want)
			}
		}
	}
}

func TestWhoCannotKeepUpEndsInTimeNevertheless(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		due, now int
		want     step
	}{
		{10, 5, wait}, {10, 10, send}, {10, 999, send}, {10, 1_000, stop}, {10, 5_000, stop},
		{1_000, 990, stop},
	} {
		if got := decide(at(c.due), at(c.now), at(1_000)); got != c.want {
			t.Errorf("due at %d, now %d: %v, not %v", c.due, c.now, got, c.want)
		}
	}
}

func TestAStampIsReadBackByItsOwnRunOnly(t *testing.T) {
	origin := time.Now()
	stamps := NewStamps(1_024, origin)
	due := origin.Add(1_234_567 * time.Microsecond)
	body := stamps.Body(due)
	if got, ok := stamps.Read(body); !ok || !got.Equal(due) || len(body) != 1_024 {
		t.Errorf("%v, %v, %d bytes", got, ok, len(body))
	}
	if _, ok := NewStamps(1_024, origin).Read(body); ok {
		t.Error("another run took it")
	}
	if _, ok := stamps.Read(body[:20]); ok {
		t.Error("half a stamp was taken")
	}
}
