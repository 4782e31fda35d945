package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/configs"
)

// The exit codes, as the help of drover explains them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnavailable = 4
	exitAborted     = 5
	exitRefused     = 6
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// errInterrupted is an interrupt by the user, who need not be told.
var errInterrupted = errors.New("interrupted")

// usageError is a command line that can't be understood.
type usageError struct {
	err     error
	command string
	line    string // how it is to be called
}

func (e usageError) Error() string { return e.err.Error() }

func (e usageError) Unwrap() error { return e.err }

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*configs.Error](err); ok {
		return exitUsage
	}
	if errors.Is(err, errInterrupted) {
		return exitInterrupted
	}
	if errors.Is(err, errRefused) {
		return exitRefused
	}
	if code, ok := errors.AsType[commandEnded](err); ok {
		return int(code)
	}
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return exitFailure
	}
	switch e.Code {
	case api.InvalidArgument:
		return exitUsage
	case api.NotFound:
		return exitNotFound
	case api.Unavailable:
		return exitUnavailable
	case api.Aborted, api.Canceled:
		return exitAborted
	case api.FailedPrecondition, api.AlreadyExists:
		return exitRefused
	default:
		return exitFailure
	}
}

// report tells a failure on stderr: "drover: what: why", the wrong fields and the cure below it; or the same for programs.
func (c *cli) report(err error) {
	if _, told := errors.AsType[commandEnded](err); told || errors.Is(err, errInterrupted) || errors.Is(err, errRefused) {
		return
	}
	e := describe(err)
	if c.structured() {
		_ = writeAs(c.err, c.output, map[string]any{"error": e}) // there is nowhere left to complain
		return
	}
	line := "drover: "
	if e.What != "" {
		line += e.What + ": "
	}
	fmt.Fprintln(c.err, line+e.Why)
	for _, v := range e.Violations {
		fmt.Fprintln(c.err, "  "+strings.TrimPrefix(v.Field+": "+v.Why, ": ")) // of the whole when there is no field
	}
	tellRefusals(c.err, e.Refusals)
	if e.Cure != "" {
		fmt.Fprintln(c.err, "  "+strings.ReplaceAll(e.Cure, "\n", "\n  "))
	}
}

// describe is err in the shape in which failures are told.
func describe(err error) api.Error {
	e := *api.AsError(err)
	if u, ok := errors.AsType[usageError](err); ok {
		e = api.Error{Code: api.InvalidArgument, Why: u.Error(), Cure: "usage: " + u.line + "\nsee " + u.command + " --help"}
	}
	if _, ok := errors.AsType[*configs.Error](err); ok {
		e.Code = api.InvalidArgument
	}
	if e.Violations == nil {
		e.Violations = []api.Violation{}
	}
	if e.Why == "" && len(e.Violations) > 0 {
		e.Why = "some fields can't be accepted"
	}
	return e
}
