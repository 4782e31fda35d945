package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) podLogs() *cobra.Command {
	var o api.LogOptions
	since, tail := "", -1
	cmd := &cobra.Command{
		Use:   "logs POD",
		Short: "Show what a pod has written, at every site; with -o json one object a line, with -o yaml one document",
		Long: `Shows what a container has written to its standard output and error. The log moves with the pod: it has the
lines of all sites where the pod has been, and --follow goes along when it moves.`,
		Example: "  drover pod logs redis\n  drover pod logs -f --tail 20 shop -c web\n  drover pod logs --since 10m shop",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			var err error
			if o.Since, err = sinceWhen(since, c.now()); err != nil {
				return err
			}
			if o.Tail = max(0, tail); tail == 0 {
				o.Since = c.now()
			}
			if !c.structured() {
				return client.PodLogs(ctx, args[0], o, api.LinesTo{W: c.out})
			}
			lines := &lineObjects{out: c.out, format: c.output}
			err = client.PodLogs(ctx, args[0], o, api.LinesTo{W: lines})
			return errors.Join(err, lines.flush())
		}),
	}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on until the pod has ended or is removed, also when it moves")
	cmd.Flags().StringVarP(&o.Container, "container", "c", "", "`name` of the container (default: the first)")
	cmd.Flags().StringVar(&since, "since", "", "only lines after that `time`, such as 10m or 2026-03-01T12:00:00Z")
	cmd.Flags().IntVar(&tail, "tail", -1, "only the last `n` lines of those that are there")
	cmd.Flags().BoolVarP(&o.Timestamps, "timestamps", "t", false, "put before each line when it was written")
	return cmd
}

// sinceWhen reads a time, or how long ago it was; "" is the zero time.
func sinceWhen(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	return time.Time{}, &api.Error{Code: api.InvalidArgument, Why: fmt.Sprintf("--since %q is neither a duration such as 10m nor a time such as 2026-03-01T12:00:00Z", text)}
}

// lineObjects writes each line that is written to it as {"line":"..."}, or the same in YAML.
type lineObjects struct {
	out    io.Writer
	format string
	rest   []byte
}

// Write writes the lines that are whole.
func (l *lineObjects) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := strings.Cut(string(l.rest), "\n")
		if !whole {
			return len(p), nil
		}
		l.rest = []byte(rest)
		if err := l.put(line); err != nil {
			return 0, err
		}
	}
}

// flush writes a last line that has no end.
func (l *lineObjects) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	return l.put(string(l.rest))
}

func (l *lineObjects) put(line string) error {
	return writeNext(l.out, l.format, struct {
		Line string `json:"line"`
	}{line})
}
