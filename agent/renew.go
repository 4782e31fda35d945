package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
)

const (
	// renewBelow is how much of its life a certificate has left when it is renewed: a month, in which a mesh that
	// is cut off can be mended.
	renewBelow = transport.NodeLifetime / 3
	// renewEvery is how often that is looked at, and tried.
	renewEvery = time.Hour
)

// renewer keeps this node's certificate valid.
type renewer struct {
	dir       string // of the identity
	transport *transport.Transport
	view      func() state.View
	log       *slog.Logger
}

// keepValid renews the certificate whenever it is time, until ctx ends.
func (r *renewer) keepValid(ctx context.Context) {
	for {
		if id := r.transport.Identity(); time.Until(id.Expires) < renewBelow {
			attempt, cancel := context.WithTimeout(ctx, time.Minute)
			err := r.renew(attempt, id)
			cancel()
			if err != nil && ctx.Err() == nil {
				r.log.Warn("this node's certificate could not be renewed", "expires", id.Expires, "err", err)
			}
		}
		if !wait(ctx, renewEvery) {
			return
		}
	}
}

// renew gets a new certificate, writes it, and proves the node with it from then on.
func (r *renewer) renew(ctx context.Context, id *transport.Identity) error {
	certificate, err := r.obtain(ctx, id)
	if err != nil {
		return err
	}
	renewed, err := id.Renew(r.dir, certificate)
	if err != nil {
		return err
	}
	if err := r.transport.SetIdentity(renewed); err != nil {
		return err
	}
	r.log.Info("this node's certificate was renewed", "expires", renewed.Expires)
	return nil
}

// obtain asks whoever can sign, beginning with this node itself.
func (r *renewer) obtain(ctx context.Context, id *transport.Identity) ([]byte, error) {
	request, err := id.Request()
	if err != nil {
		return nil, err
	}
	ask := transport.EnrolRequest{Node: id.Node, Request: request, Time: time.Now()}
	if id.Authority != nil {
		key, err := ask.PublicKey()
		if err != nil {
			return nil, err
		}
		return id.Authority.Certify(id.Node, id.Generation, key)
	}
	errs := []error{errNoAuthority(id.Node)}
	for i, place := range enrollers(r.view(), id.Node) {
		if i == 0 {
			errs = nil
		}
		certificate, err := r.ask(ctx, place.Node, ask)
		if err == nil {
			return certificate, nil
		}
		errs = append(errs, fmt.Errorf("asking %s: %w", place.Node, err))
	}
	return nil, errors.Join(errs...)
}

func (r *renewer) ask(ctx context.Context, node string, request transport.EnrolRequest) ([]byte, error) {
	conn, err := r.transport.Dial(ctx, node, transport.Enrol)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Reset(transport.FirstUserCode) })()
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	answer, err := transport.ReadEnrolAnswer(conn)
	switch {
	case err != nil:
		return nil, err
	case answer.Refusal != nil:
		return nil, errors.New(answer.Refusal.Why)
	case len(answer.Certificate) == 0:
		return nil, errors.New("it has not the key of the authority any more")
	}
	return answer.Certificate, nil
}
