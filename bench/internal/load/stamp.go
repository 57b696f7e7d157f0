package load

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// StampBytes is what a stamp takes at the head of a body: the run, and when the message was due.
const StampBytes = 32

const runBytes = 16

// Stamps writes and reads the stamps of one run, by the monotonic clock of this process.
type Stamps struct {
	run    [runBytes]byte
	origin time.Time
	filler []byte
}

// NewStamps makes bodies of so many bytes; no message is due before the origin.
func NewStamps(size int, origin time.Time) *Stamps {
	s := &Stamps{origin: origin, filler: make([]byte, size)}
	rand.Read(s.run[:])
	rand.Read(s.filler) // so that it does not compress
	return s
}

// Body is a new body that says when it was due.
func (s *Stamps) Body(due time.Time) []byte {
	body := make([]byte, len(s.filler))
	copy(body, s.run[:])
	binary.LittleEndian.PutUint64(body[runBytes:], uint64(due.Sub(s.origin)))
	copy(body[StampBytes:], s.filler[StampBytes:])
	return body
}

// Read says when a message was due; false when it is not of this run.
func (s *Stamps) Read(body []byte) (time.Time, bool) {
	if len(body) < StampBytes || string(body[:runBytes]) != string(s.run[:]) {
		return time.Time{}, false
	}
	since := time.Duration(binary.LittleEndian.Uint64(body[runBytes:]))
	return s.origin.Add(since), true
}
