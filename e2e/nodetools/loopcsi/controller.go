package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// controller makes, grows and deletes images.
type controller struct {
	csi.UnimplementedControllerServer
	store *store
}

func (*controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	r := &csi.ControllerGetCapabilitiesResponse{}
	for _, t := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		rpc := &csi.ControllerServiceCapability_RPC{Type: t}
		r.Capabilities = append(r.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: rpc},
		})
	}
	return r, nil
}

// place is where a volume can be mounted: with the parameter pinned: "true" on the node that the
// scheduler chose, like a local disk; else on any node, one at a time, like a cloud disk.
func place(req *csi.CreateVolumeRequest) ([]*csi.Topology, error) {
	if req.GetParameters()["pinned"] != "true" {
		return nil, nil
	}
	wanted := req.GetAccessibilityRequirements()
	for _, t := range append(wanted.GetPreferred(), wanted.GetRequisite()...) {
		return []*csi.Topology{t}, nil
	}
	return nil, status.Error(codes.InvalidArgument, "a pinned volume needs a node")
}

func (c *controller) CreateVolume(
	_ context.Context, req *csi.CreateVolumeRequest,
) (*csi.CreateVolumeResponse, error) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for _, capability := range req.GetVolumeCapabilities() {
		if err := checkCapability(capability); err != nil {
			return nil, err
		}
	}
	img, err := c.store.image(req.GetName())
	if err != nil {
		return nil, err
	}
	size, err := sizeFor(req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	topology, err := place(req)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(img)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := c.store.create(img, size); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, internal(err)
	case st.Size() != size:
		return nil, status.Errorf(codes.AlreadyExists,
			"volume %s has %d bytes, not %d", req.GetName(), st.Size(), size)
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:           req.GetName(),
		CapacityBytes:      size,
		VolumeContext:      req.GetParameters(),
		AccessibleTopology: topology,
	}}, nil
}

func (c *controller) DeleteVolume(
	_ context.Context, req *csi.DeleteVolumeRequest,
) (*csi.DeleteVolumeResponse, error) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	img, err := c.store.image(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if err := os.Remove(img); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, internal(err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (c *controller) ValidateVolumeCapabilities(
	_ context.Context, req *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if _, err := c.store.existing(req.GetVolumeId()); err != nil {
		return nil, err
	}
	for _, capability := range req.GetVolumeCapabilities() {
		if err := checkCapability(capability); err != nil {
			return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
		}
	}
	confirmed := &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: req.GetVolumeCapabilities(),
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: confirmed}, nil
}

// ControllerExpandVolume makes the image longer, never shorter; the node grows the file system.
func (c *controller) ControllerExpandVolume(
	_ context.Context, req *csi.ControllerExpandVolumeRequest,
) (*csi.ControllerExpandVolumeResponse, error) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	img, err := c.store.existing(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	size, err := sizeFor(req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(img)
	if err != nil {
		return nil, internal(err)
	}
	if size <= st.Size() {
		size = st.Size()
	} else if err := os.Truncate(img, size); err != nil {
		return nil, internal(err)
	}
	return &csi.ControllerExpandVolumeResponse{
		CapacityBytes: size, NodeExpansionRequired: true,
	}, nil
}
