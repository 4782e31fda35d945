package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/drover-mesh/drover/volumes/oci"
)

// Why a registry doesn't give what it is asked for.
var (
	ErrNotFound    = errors.New("the registry has no such image")
	ErrDenied      = errors.New("the registry doesn't let one read it")
	ErrUntrusted   = errors.New("the registry can't be trusted")
	ErrUnreachable = errors.New("the registry can't be reached")
)

// An Error reports that a registry doesn't give what it is asked for. It is one of the above, or none.
type Error struct {
	Registry string
	Kind     error // of the above; nil if none fits
	Cause    error
}

func (e *Error) Error() string {
	if e.Kind == nil {
		return fmt.Sprintf("%s: %v", e.Registry, e.Cause)
	}
	return fmt.Sprintf("%s: %v: %v", e.Registry, e.Kind, e.Cause)
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Cause} }

// explain sorts what went wrong. A context's end stays what it is.
func explain(n oci.Name, o Options, err error) error {
	if known := (*Error)(nil); errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{Registry: n.Registry, Kind: kindOf(err), Cause: err}
}

func kindOf(err error) error {
	var said *transport.Error
	var network net.Error
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &said):
		return kindOfStatus(said.StatusCode)
	case errors.Is(err, errPlain), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &record),
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http has no type for it
		return ErrUntrusted
	case errors.As(err, &network), errors.Is(err, errIdle):
		return ErrUnreachable
	}
	return nil
}

func kindOfStatus(status int) error {
	switch {
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrDenied
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests:
		return ErrUnreachable
	}
	return nil
}

// permanent says that the same request would fail again.
func permanent(err error) bool {
	kind := kindOf(err)
	said := (*transport.Error)(nil)
	return errors.Is(kind, ErrNotFound) || errors.Is(kind, ErrDenied) || errors.Is(kind, ErrUntrusted) || errors.As(err, &said) && kind == nil
}
