package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

// Code is the class of an error. The strings are those of Connect and gRPC.
type Code string

// The classes of errors.
const (
	InvalidArgument    Code = "invalid_argument"    // the request is wrong, whatever the state of the mesh
	NotFound           Code = "not_found"           // what it names doesn't exist
	AlreadyExists      Code = "already_exists"      // what it would make is there already
	FailedPrecondition Code = "failed_precondition" // the state doesn't allow it now
	Unavailable        Code = "unavailable"         // a node, or the quorum, can't be reached
	Aborted            Code = "aborted"             // it was begun, failed, and was undone
	Canceled           Code = "canceled"            // the caller went away
	Internal           Code = "internal"            // anything else
)

// Error is a failure as it is told to people, the same on both sides of the API: what was being done, why it failed and
// what to do about it.
type Error struct {
	Code       Code        `json:"code"`
	What       string      `json:"what"` // "moving redis to fra"
	Why        string      `json:"why"`
	Cure       string      `json:"cure"`               // may be empty
	Violations []Violation `json:"violations"`         // of InvalidArgument: the wrong fields; of a pod that fits nowhere: the nodes
	Refusals   []Refusal   `json:"refusals,omitempty"` // of a move that is refused: all that is against it
	Err        error       `json:"-"`                  // cause, not sent
}

// Violation is one field that can't be accepted, by its path ("spec.containers[0].livenessProbe"), or one node that isn't
// suited, by its name.
type Violation struct {
	Field string `json:"field"`
	Why   string `json:"why"`
}

// Error is "what: why", with the violations and refusals.
func (e *Error) Error() string {
	var parts []string
	for _, s := range []string{e.What, e.Why} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if e.Why == "" && e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	for _, v := range e.Violations {
		parts = append(parts, v.Field+": "+v.Why)
	}
	for _, r := range e.Refusals {
		parts = append(parts, r.Who()+": "+r.Reason)
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error whose reason is formatted; %w gives it a cause.
func Errorf(code Code, what, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, What: what, Why: err.Error(), Err: errors.Unwrap(err)}
}

// WithCure returns e after setting what to do about it.
func (e *Error) WithCure(cure string) *Error {
	e.Cure = cure
	return e
}

// AsError returns err as an Error: itself if it is or wraps one, one of its class if it came from Connect or a context,
// else one of code Internal.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return fromConnect(ce)
	}
	code := Internal
	switch {
	case errors.Is(err, context.Canceled):
		code = Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = Unavailable
	}
	return &Error{Code: code, Why: err.Error(), Err: err}
}

// cutShort says whether an answer ended before it was whole: who gave it went away.
func cutShort(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// fromConnect reads the detail that toConnect attached; an error without one was made by Connect or HTTP.
func fromConnect(ce *connect.Error) *Error {
	for _, d := range ce.Details() {
		msg, err := d.Value()
		if err != nil {
			continue
		}
		if detail, ok := msg.(*droverv1.ErrorDetail); ok {
			e := &Error{Code: Code(detail.GetCode()), What: detail.GetWhat(), Why: detail.GetWhy(), Cure: detail.GetCure(), Err: ce}
			for _, v := range detail.GetViolations() {
				e.Violations = append(e.Violations, Violation{Field: v.GetField(), Why: v.GetWhy()})
			}
			for _, r := range detail.GetRefusals() {
				e.Refusals = append(e.Refusals, refusalFromProto(r))
			}
			return e
		}
	}
	e := &Error{Code: Internal, Why: ce.Message(), Err: ce}
	switch ce.Code() {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
		e.Code = Unavailable
	case connect.CodeCanceled:
		e.Code = Canceled
	case connect.CodeInvalidArgument, connect.CodeResourceExhausted:
		e.Code = InvalidArgument
	case connect.CodeUnimplemented:
		e.Code, e.Cure = FailedPrecondition, "run the same version of drover on each node"
	}
	if cutShort(ce) { // Connect speaks of its protocol, or of a cancellation
		e.Code, e.Why = Unavailable, "it went away before it had answered"
	}
	return e
}

// toConnect is err as it goes over the wire.
func toConnect(err error) error {
	if err == nil {
		return nil
	}
	e := AsError(err)
	ce := connect.NewError(connectCode(e.Code), errors.New(e.Error()))
	detail := &droverv1.ErrorDetail{
		Code: string(e.Code), What: e.What, Why: e.Why, Cure: e.Cure, Refusals: each(e.Refusals, refusalToProto),
	}
	for _, v := range e.Violations {
		detail.Violations = append(detail.Violations, &droverv1.Violation{Field: v.Field, Why: v.Why})
	}
	if d, err := connect.NewErrorDetail(detail); err == nil {
		ce.AddDetail(d)
	}
	return ce
}

func connectCode(code Code) connect.Code {
	switch code {
	case InvalidArgument:
		return connect.CodeInvalidArgument
	case NotFound:
		return connect.CodeNotFound
	case AlreadyExists:
		return connect.CodeAlreadyExists
	case FailedPrecondition:
		return connect.CodeFailedPrecondition
	case Unavailable:
		return connect.CodeUnavailable
	case Aborted:
		return connect.CodeAborted
	case Canceled:
		return connect.CodeCanceled
	default:
		return connect.CodeInternal
	}
}
