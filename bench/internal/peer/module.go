package peer

import "runtime/debug"

// module is the version of a Go module that this program is built with.
func module(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, one := range info.Deps {
		if one.Path == path {
			return one.Version
		}
	}
	return "unknown"
}
