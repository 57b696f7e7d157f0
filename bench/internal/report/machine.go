package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// Machine says on what this runs.
func Machine() string {
	return fmt.Sprintf("%d × %s, %s of memory, Linux %s", runtime.NumCPU(),
		field("/proc/cpuinfo", "model name"), gib(field("/proc/meminfo", "MemTotal")), release())
}

// field is the first line of a file that begins with this name, behind its colon.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func gib(text string) string {
	var kib float64
	if _, err := fmt.Sscanf(text, "%f kB", &kib); err != nil {
		return text
	}
	return fmt.Sprintf("%.0f GiB", kib/(1<<20))
}

func release() string {
	var name syscall.Utsname
	if err := syscall.Uname(&name); err != nil {
		return "unknown"
	}
	var text []byte
	for _, one := range name.Release {
		if one == 0 {
			break
		}
		text = append(text, byte(one))
	}
	return string(text)
}
