package api

import (
	"context"
	"io"

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
	if header.GetName() == "" {
		return nil, &Error{Code: InvalidArgument, What: "loading an image", Violations: []Violation{{"name", "is missing"}}}
	}
	at, err := h.atNode(ctx, header.GetNode())
	if err != nil {
		return nil, err
	}
	image, err := at.LoadImage(ctx, header.GetName(), header.GetNode(), &chunkReader{stream: stream})
	if err != nil {
		return nil, err
	}
	return &droverv1.LoadImageResponse{Image: imageToProto(image)}, nil
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
