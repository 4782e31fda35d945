package api

import (
	"context"
	"io"
	"sync"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

// chunkSize is how much of an image or a log goes into one message.
const chunkSize = 256 << 10

type imagesHandler struct{ *handler }

func (h imagesHandler) Load(ctx context.Context, stream *connect.ClientStream[droverv1.LoadImageRequest]) (*droverv1.LoadImageResponse, error) {
	if !stream.Receive() {
		if err := stream.Err(); err != nil {
			return nil, err
		}
		return nil, Errorf(InvalidArgument, "loading an image", "the stream has no header")
	}
	header := stream.Msg().GetHeader()
	if header == nil {
		return nil, Errorf(InvalidArgument, "loading an image", "the stream doesn't begin with a header")
	}
	at, err := h.atNode(ctx, header.GetNode())
	if err != nil {
		return nil, err
	}
	o := LoadImage{Name: header.GetName(), Node: header.GetNode(), Platform: header.GetPlatform()}
	images, err := at.LoadImage(ctx, o, &chunkReader{stream: stream})
	if err != nil {
		return nil, err
	}
	return &droverv1.LoadImageResponse{Images: each(images, imageToProto)}, nil
}

func (h imagesHandler) List(ctx context.Context, req *droverv1.ListImagesRequest) (*droverv1.ListImagesResponse, error) {
	at, err := h.atNode(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	images, err := at.ListImages(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	return &droverv1.ListImagesResponse{Images: each(images, imageToProto)}, nil
}

func (h imagesHandler) Inspect(ctx context.Context, req *droverv1.InspectImageRequest) (*droverv1.InspectImageResponse, error) {
	at, err := h.atNode(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	image, err := at.InspectImage(ctx, req.GetName(), req.GetNode())
	if err != nil {
		return nil, err
	}
	return &droverv1.InspectImageResponse{Image: imageToProto(image)}, nil
}

func (h imagesHandler) Tag(ctx context.Context, req *droverv1.TagImageRequest) (*droverv1.TagImageResponse, error) {
	at, err := h.atNode(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	image, err := at.TagImage(ctx, req.GetName(), req.GetTag(), req.GetNode())
	if err != nil {
		return nil, err
	}
	return &droverv1.TagImageResponse{Image: imageToProto(image)}, nil
}

func (h imagesHandler) Remove(ctx context.Context, req *droverv1.RemoveImageRequest) (*droverv1.RemoveImageResponse, error) {
	at, err := h.atNode(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	removed, err := at.RemoveImage(ctx, req.GetName(), req.GetNode())
	if err != nil {
		return nil, err
	}
	return &droverv1.RemoveImageResponse{Name: removed.Name, Freed: removed.Freed}, nil
}

func (h imagesHandler) Pull(ctx context.Context, req *droverv1.PullImageRequest, stream *connect.ServerStream[droverv1.PullImageResponse]) error {
	at, err := h.atNode(ctx, req.GetNode())
	if err != nil {
		return err
	}
	o := PullImage{
		Reference: req.GetReference(), Node: req.GetNode(), Platform: req.GetPlatform(), Insecure: req.GetInsecure(),
		Credentials: credentialsFromProto(req.GetCredentials()),
	}
	var one sync.Mutex // several layers come at once
	image, err := at.PullImage(ctx, o, func(p LayerProgress) {
		one.Lock()
		defer one.Unlock()
		// Who doesn't hear it has gone, and ends ctx.
		_ = stream.Send(&droverv1.PullImageResponse{Part: &droverv1.PullImageResponse_Progress{Progress: layerToProto(p)}})
	})
	if err != nil {
		return err
	}
	one.Lock()
	defer one.Unlock()
	return stream.Send(&droverv1.PullImageResponse{Part: &droverv1.PullImageResponse_Image{Image: imageToProto(image)}})
}

// chunkReader reads the chunks of a stream. It ends with io.EOF only if the sender ended the stream in order.
type chunkReader struct {
	stream *connect.ClientStream[droverv1.LoadImageRequest]
	rest   []byte
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.stream.Receive() {
			if err := r.stream.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		r.rest = r.stream.Msg().GetChunk()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
