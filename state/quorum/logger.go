package quorum

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// logger writes what Raft logs (hclog) to slog. Raft takes every change of its own mind for news, and every
// peer that doesn't answer for an error of its own: each level but trace goes one down, so that at "info"
// it says only what an operator may have to act on.
type logger struct {
	log     *slog.Logger
	name    string
	implied []any
}

func newLogger(l *slog.Logger) *logger { return &logger{log: l.With("part", "raft"), name: "raft"} }

func level(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error:
		return slog.LevelWarn
	case hclog.Warn:
		return slog.LevelInfo
	case hclog.Info:
		return slog.LevelDebug
	default:
		return slog.LevelDebug - 4
	}
}

// Log implements hclog.Logger.
func (l *logger) Log(at hclog.Level, msg string, args ...any) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level(at)) {
		return
	}
	for i, arg := range args {
		if f, ok := arg.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	l.log.Log(ctx, level(at), msg, args...)
}

// The methods of hclog.Logger that name a level.
func (l *logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *logger) enabled(at hclog.Level) bool {
	return l.log.Enabled(context.Background(), level(at))
}

// The methods of hclog.Logger that ask for a level.
func (l *logger) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l *logger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *logger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *logger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *logger) IsError() bool { return l.enabled(hclog.Error) }

// ImpliedArgs implements hclog.Logger.
func (l *logger) ImpliedArgs() []any { return l.implied }

// With implements hclog.Logger.
func (l *logger) With(args ...any) hclog.Logger {
	implied := append(append([]any{}, l.implied...), args...)
	return &logger{log: l.log.With(args...), name: l.name, implied: implied}
}

// Name implements hclog.Logger.
func (l *logger) Name() string { return l.name }

// Named implements hclog.Logger.
func (l *logger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

// ResetNamed implements hclog.Logger.
func (l *logger) ResetNamed(name string) hclog.Logger {
	return &logger{log: l.log, name: name, implied: l.implied}
}

// SetLevel implements hclog.Logger; the level is slog's matter.
func (l *logger) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (l *logger) GetLevel() hclog.Level {
	for at := hclog.Trace; at < hclog.Error; at++ {
		if l.enabled(at) {
			return at
		}
	}
	return hclog.Error
}

// StandardLogger implements hclog.Logger.
func (l *logger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

// StandardWriter implements hclog.Logger.
func (l *logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lines{l} }

// lines logs what is written as information.
type lines struct{ log *logger }

func (w lines) Write(p []byte) (int, error) {
	w.log.Info(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
