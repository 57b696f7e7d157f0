package main

import (
	"context"
	"os"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// node mounts volumes on one node.
type node struct {
	csi.UnimplementedNodeServer
	store *store
	name  string
}

func (n *node) NodeGetInfo(
	context.Context, *csi.NodeGetInfoRequest,
) (*csi.NodeGetInfoResponse, error) {
	segments := map[string]string{topologyKey: n.name}
	return &csi.NodeGetInfoResponse{
		NodeId: n.name, AccessibleTopology: &csi.Topology{Segments: segments},
	}, nil
}

func (*node) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	r := &csi.NodeGetCapabilitiesResponse{}
	for _, t := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		rpc := &csi.NodeServiceCapability_RPC{Type: t}
		r.Capabilities = append(r.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: rpc},
		})
	}
	return r, nil
}

// NodeStageVolume mounts the image, unless another node has it: loop devices are the machine's, so
// one that is still there for this image shows a mount that is alive on another node.
func (n *node) NodeStageVolume(
	_ context.Context, req *csi.NodeStageVolumeRequest,
) (*csi.NodeStageVolumeResponse, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	img, err := n.store.existing(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if err := checkCapability(req.GetVolumeCapability()); err != nil {
		return nil, err
	}
	target := req.GetStagingTargetPath()
	if device, err := mounted(target); err != nil || device != "" {
		return &csi.NodeStageVolumeResponse{}, err
	}
	used, err := run("losetup", "-n", "-O", "NAME", "-j", img)
	if err != nil {
		return nil, err
	}
	if used != "" {
		return nil, status.Errorf(codes.FailedPrecondition,
			"volume %s is still mounted on another node (%s)", req.GetVolumeId(), used)
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, internal(err)
	}
	if _, err := run("mount", "-t", "xfs", "-o", "loop", img, target); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (n *node) NodeUnstageVolume(
	_ context.Context, req *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	return &csi.NodeUnstageVolumeResponse{}, unmount(req.GetStagingTargetPath())
}

func (n *node) NodePublishVolume(
	_ context.Context, req *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	target := req.GetTargetPath()
	if device, err := mounted(target); err != nil || device != "" {
		return &csi.NodePublishVolumeResponse{}, err
	}
	staged, err := mounted(req.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	if staged == "" {
		return nil, status.Errorf(codes.FailedPrecondition,
			"volume %s is not staged", req.GetVolumeId())
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, internal(err)
	}
	opts := "bind"
	if req.GetReadonly() {
		opts += ",ro"
	}
	if _, err := run("mount", "-o", opts, req.GetStagingTargetPath(), target); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *node) NodeUnpublishVolume(
	_ context.Context, req *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	return &csi.NodeUnpublishVolumeResponse{}, unmount(req.GetTargetPath())
}

// NodeExpandVolume tells the loop device and the file system that the image is longer.
func (n *node) NodeExpandVolume(
	_ context.Context, req *csi.NodeExpandVolumeRequest,
) (*csi.NodeExpandVolumeResponse, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	img, err := n.store.existing(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	path := req.GetStagingTargetPath()
	if path == "" {
		path = req.GetVolumePath()
	}
	device, err := mounted(path)
	if err != nil {
		return nil, err
	}
	if device == "" {
		return nil, status.Errorf(codes.NotFound, "nothing is mounted at %s", path)
	}
	if _, err := run("losetup", "-c", device); err != nil {
		return nil, err
	}
	if _, err := run("xfs_growfs", path); err != nil {
		return nil, err
	}
	st, err := os.Stat(img)
	if err != nil {
		return nil, internal(err)
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: st.Size()}, nil
}

func (*node) NodeGetVolumeStats(
	_ context.Context, req *csi.NodeGetVolumeStatsRequest,
) (*csi.NodeGetVolumeStatsResponse, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(req.GetVolumePath(), &s); err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	size := func(blocks uint64) int64 { return int64(blocks) * s.Bsize }
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{
			Unit: csi.VolumeUsage_BYTES, Total: size(s.Blocks),
			Available: size(s.Bavail), Used: size(s.Blocks - s.Bfree),
		},
		{
			Unit: csi.VolumeUsage_INODES, Total: int64(s.Files),
			Available: int64(s.Ffree), Used: int64(s.Files - s.Ffree),
		},
	}}, nil
}
