package peer

import (
	"fmt"
	"net"
)

// ports are free ones on loopback. Each was free a moment ago: whoever takes one in between makes a
// node fail to start, which is said.
func ports(n int) ([]int, error) {
	var found []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("no free port on loopback: %w", err)
		}
		// Kept open until all are found, so that they differ.
		defer listener.Close()
		found = append(found, listener.Addr().(*net.TCPAddr).Port)
	}
	return found, nil
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
