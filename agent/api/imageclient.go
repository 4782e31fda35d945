package api

import (
	"context"
	"errors"
	"io"
	"strings"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

// LoadImage sends a file to a node. If reading it fails, the node keeps nothing of it.
func (c *Client) LoadImage(ctx context.Context, o LoadImage, r io.Reader) ([]Image, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.images.Load(ctx)
	if err != nil {
		return nil, c.wrap(err)
	}
	header := &droverv1.LoadImageHeader{Name: o.Name, Node: o.Node, Platform: o.Platform}
	err = stream.Send(&droverv1.LoadImageRequest{Part: &droverv1.LoadImageRequest_Header{Header: header}})
	buf := make([]byte, chunkSize)
	for err == nil {
		n, readErr := io.ReadFull(r, buf)
		if n > 0 {
			err = stream.Send(&droverv1.LoadImageRequest{Part: &droverv1.LoadImageRequest_Chunk{Chunk: buf[:n]}})
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			break
		}
		if readErr != nil {
			cancel() // so that the node sees a cut, not an end
			_, _ = stream.CloseAndReceive()
			return nil, Errorf(InvalidArgument, strings.TrimSpace("loading image "+o.Name), "reading it: %w", readErr)
		}
	}
	resp, err := stream.CloseAndReceive() // has the node's error too, if a Send failed with io.EOF
	return each(resp.GetImages(), imageFromProto), c.wrap(err)
}

// ListImages returns the images of a node.
func (c *Client) ListImages(ctx context.Context, node string) ([]Image, error) {
	resp, err := c.images.List(ctx, &droverv1.ListImagesRequest{Node: node})
	return each(resp.GetImages(), imageFromProto), c.wrap(err)
}

// InspectImage returns an image with its Document.
func (c *Client) InspectImage(ctx context.Context, name, node string) (Image, error) {
	resp, err := c.images.Inspect(ctx, &droverv1.InspectImageRequest{Name: name, Node: node})
	return imageFromProto(resp.GetImage()), c.wrap(err)
}

// TagImage gives an image one more name.
func (c *Client) TagImage(ctx context.Context, name, tag, node string) (Image, error) {
	resp, err := c.images.Tag(ctx, &droverv1.TagImageRequest{Name: name, Tag: tag, Node: node})
	return imageFromProto(resp.GetImage()), c.wrap(err)
}

// RemoveImage takes a name from an image, and removes what nothing else needs.
func (c *Client) RemoveImage(ctx context.Context, name, node string) (RemovedImage, error) {
	resp, err := c.images.Remove(ctx, &droverv1.RemoveImageRequest{Name: name, Node: node})
	return RemovedImage{Name: resp.GetName(), Freed: resp.GetFreed()}, c.wrap(err)
}

// PullImage lets a node fetch an image from its registry.
func (c *Client) PullImage(ctx context.Context, o PullImage, progress func(LayerProgress)) (Image, error) {
	stream, err := c.images.Pull(ctx, &droverv1.PullImageRequest{
		Reference: o.Reference, Node: o.Node, Platform: o.Platform, Insecure: o.Insecure, Credentials: credentialsToProto(o.Credentials),
	})
	if err != nil {
		return Image{}, c.wrap(err)
	}
	defer func() { _ = stream.Close() }() // its error would only repeat the first
	for stream.Receive() {
		switch part := stream.Msg().GetPart().(type) {
		case *droverv1.PullImageResponse_Progress:
			progress(layerFromProto(part.Progress))
		case *droverv1.PullImageResponse_Image:
			return imageFromProto(part.Image), nil
		}
	}
	if err := stream.Err(); err != nil {
		return Image{}, c.wrap(err)
	}
	return Image{}, Errorf(Unavailable, "pulling "+o.Reference, "%s ended the stream without an image", c.target.name).
		WithCure("drover image ls shows if it is there")
}
