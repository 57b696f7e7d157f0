package meter

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// sector is the unit of /sys/block/*/stat, whatever the device.
const sector = 512

// Disk is one block device.
type Disk struct {
	folder string // of it in /sys
}

// Used is what a device has done since the machine started.
type Used struct {
	Written int64 // bytes
	Flushes int64
}

// DiskOf finds the whole device that a path lies on.
func DiskOf(path string) (Disk, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		return Disk{}, err
	}
	major := (stat.Dev>>8)&0xfff | (stat.Dev>>32)&^0xfff
	minor := stat.Dev&0xff | (stat.Dev>>12)&^0xff
	link := fmt.Sprintf("/sys/dev/block/%d:%d", major, minor)
	folder, err := filepath.EvalSymlinks(link)
	if err != nil {
		return Disk{}, fmt.Errorf("%s lies on no block device: %w", path, err)
	}
	// Flushes are counted by the device, not by its partitions.
	if _, err := os.Stat(filepath.Join(folder, "partition")); err == nil {
		folder = filepath.Dir(folder)
	}
	return Disk{folder}, nil
}

// Name of the device.
func (d Disk) Name() string { return filepath.Base(d.folder) }

// Used reads the counters; they are zero where there is no device.
func (d Disk) Used() Used {
	text, err := os.ReadFile(filepath.Join(d.folder, "stat"))
	if err != nil {
		return Used{}
	}
	return parseDisk(string(text))
}

// parseDisk reads Documentation/block/stat: the 7th is sectors written, the 16th flushes.
func parseDisk(text string) Used {
	fields := strings.Fields(text)
	at := func(i int) int64 {
		if i >= len(fields) {
			return 0
		}
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return n
	}
	return Used{Written: at(6) * sector, Flushes: at(15)}
}
