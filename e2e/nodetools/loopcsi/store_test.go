package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestSizesAreWholeMebibytesAndNeverTooSmallForXFS(t *testing.T) {
	for _, c := range []struct{ asked, limit, want int64 }{
		{0, 0, 16 * mib},
		{1, 0, 16 * mib},
		{16 * mib, 0, 16 * mib},
		{16*mib + 1, 0, 17 * mib},
		{64 * mib, 64 * mib, 64 * mib},
	} {
		got, err := sizeFor(&csi.CapacityRange{RequiredBytes: c.asked, LimitBytes: c.limit})
		if err != nil || got != c.want {
			t.Errorf("sizeFor(%d, limit %d) = %d, %v; want %d", c.asked, c.limit, got, err, c.want)
		}
	}
}

func TestASizeOverTheLimitIsRefused(t *testing.T) {
	for _, r := range []*csi.CapacityRange{
		{RequiredBytes: 1, LimitBytes: 8 * mib},
		{RequiredBytes: 20*mib + 1, LimitBytes: 20*mib + 2},
	} {
		if _, err := sizeFor(r); status.Code(err) != codes.OutOfRange {
			t.Errorf("sizeFor(%v) = %v; want OutOfRange", r, err)
		}
	}
}

func TestVolumeIDsCannotLeaveTheFolder(t *testing.T) {
	s := &store{folder: "/volumes"}
	if img, err := s.image("pvc-1.2_x"); err != nil || img != "/volumes/pvc-1.2_x.img" {
		t.Errorf("image = %q, %v", img, err)
	}
	for _, id := range []string{"", "../x", "a/b", ".hidden", "-f"} {
		if _, err := s.image(id); status.Code(err) != codes.InvalidArgument {
			t.Errorf("image(%q) = %v; want InvalidArgument", id, err)
		}
	}
}

func TestAVolumeThatIsNotThereIsNotFound(t *testing.T) {
	s := &store{folder: t.TempDir()}
	if _, err := s.existing("gone"); status.Code(err) != codes.NotFound {
		t.Errorf("existing = %v; want NotFound", err)
	}
	if err := os.WriteFile(filepath.Join(s.folder, "there.img"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.existing("there"); err != nil {
		t.Errorf("existing = %v; want none", err)
	}
}

func TestTheLastMountAtAPathCounts(t *testing.T) {
	mounts := "/dev/loop0 /a xfs rw 0 0\n/dev/loop1 /a/b xfs rw 0 0\n/dev/loop2 /a xfs rw 0 0\n"
	for path, want := range map[string]string{"/a": "/dev/loop2", "/a/b": "/dev/loop1", "/b": ""} {
		if got := deviceAt(mounts, path); got != want {
			t.Errorf("deviceAt(%q) = %q; want %q", path, got, want)
		}
	}
}

func TestOnlyOneNodesFilesystemsAreOffered(t *testing.T) {
	mode := func(m csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
		return &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: m}}
	}
	if err := checkCapability(mode(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)); err != nil {
		t.Errorf("one writer: %v", err)
	}
	many := mode(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)
	block := &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Block{
		Block: &csi.VolumeCapability_BlockVolume{},
	}}
	for name, c := range map[string]*csi.VolumeCapability{"many nodes": many, "block": block} {
		if err := checkCapability(c); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v; want InvalidArgument", name, err)
		}
	}
}

func TestAPinnedVolumeStaysWithTheNodeThatTheSchedulerPrefers(t *testing.T) {
	on := func(name string) *csi.Topology {
		return &csi.Topology{Segments: map[string]string{topologyKey: name}}
	}
	req := &csi.CreateVolumeRequest{
		Parameters: map[string]string{"pinned": "true"},
		AccessibilityRequirements: &csi.TopologyRequirement{
			Preferred: []*csi.Topology{on("node2"), on("node1")},
			Requisite: []*csi.Topology{on("node1"), on("node2")},
		},
	}
	got, err := place(req)
	if err != nil || len(got) != 1 || got[0].GetSegments()[topologyKey] != "node2" {
		t.Errorf("place = %v, %v; want node2", got, err)
	}
	req.Parameters = nil
	if got, err := place(req); err != nil || got != nil {
		t.Errorf("not pinned: place = %v, %v; want anywhere", got, err)
	}
	if _, err := place(&csi.CreateVolumeRequest{
		Parameters: map[string]string{"pinned": "true"},
	}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("pinned to nothing: %v; want InvalidArgument", err)
	}
}
