package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	mib     = int64(1) << 20
	minSize = 16 * mib // the smallest image that mkfs.xfs takes
)

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// store is the folder that holds the volumes' images.
type store struct {
	folder string
	mu     sync.Mutex // one operation at a time: they take milliseconds
}

// image is the path of a volume's image, whether it is there or not.
func (s *store) image(id string) (string, error) {
	if !validID.MatchString(id) {
		return "", status.Errorf(codes.InvalidArgument, "bad volume id %q", id)
	}
	return filepath.Join(s.folder, id+".img"), nil
}

// existing is image for a volume that must be there.
func (s *store) existing(id string) (string, error) {
	img, err := s.image(id)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(img); errors.Is(err, fs.ErrNotExist) {
		return "", status.Errorf(codes.NotFound, "volume %s does not exist", id)
	} else if err != nil {
		return "", internal(err)
	}
	return img, nil
}

// create makes the image of a new volume, in one step as others see it.
func (s *store) create(img string, size int64) error {
	tmp := img + ".new"
	if _, err := run("truncate", "-s", strconv.FormatInt(size, 10), tmp); err != nil {
		return err
	}
	mkfs := []string{"-q", "-f", "--unsupported", "-m", "reflink=0", "-d", "agcount=1", tmp}
	if _, err := run("mkfs.xfs", mkfs...); err != nil {
		return err
	}
	if err := os.Rename(tmp, img); err != nil {
		return internal(err)
	}
	return nil
}

// sizeFor is the size of an image, in whole MiB, for what was asked.
func sizeFor(r *csi.CapacityRange) (int64, error) {
	size := (max(r.GetRequiredBytes(), minSize) + mib - 1) / mib * mib
	if l := r.GetLimitBytes(); l > 0 && size > l {
		return 0, status.Errorf(codes.OutOfRange, "%d bytes are over the limit of %d", size, l)
	}
	return size, nil
}

// checkCapability refuses what a file system in a file cannot give.
func checkCapability(c *csi.VolumeCapability) error {
	if c.GetBlock() != nil {
		return status.Error(codes.InvalidArgument, "only filesystem volumes")
	}
	switch c.GetAccessMode().GetMode() {
	case csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER,
		csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
		return status.Error(codes.InvalidArgument, "a volume is for one node at a time")
	}
	return nil
}

// deviceAt finds the device mounted at path in the text of /proc/self/mounts, the last one winning
// as it does for the kernel; "" if there is none.
func deviceAt(mounts, path string) string {
	device := ""
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == path {
			device = f[0]
		}
	}
	return device
}

// mounted is the device mounted at path, or "".
func mounted(path string) (string, error) {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", internal(err)
	}
	return deviceAt(string(b), path), nil
}

// unmount removes every mount at path, and path.
func unmount(path string) error {
	for {
		device, err := mounted(path)
		if err != nil {
			return err
		}
		if device == "" {
			break
		}
		if _, err := run("umount", path); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return internal(err)
	}
	return nil
}

func internal(err error) error { return status.Error(codes.Internal, err.Error()) }

func run(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", status.Errorf(codes.Internal,
			"%s %s: %v: %s", name, strings.Join(args, " "), err, text)
	}
	return text, nil
}
