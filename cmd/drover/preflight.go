package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/drover-mesh/drover/agent/api"
)

// errRefused is a move that can't be, which has been told.
var errRefused = errors.New("refused")

// dryRun shows what a move would be. Interrupted, it just ends: there is nothing to undo.
func (c *cli) dryRun(ctx context.Context, client *api.Client, pod, to string) error {
	p, err := client.Preflight(ctx, pod, to)
	if err != nil {
		return err
	}
	if err := c.print(p, func(w io.Writer) error { return describePreflight(w, p) }); err != nil {
		return err
	}
	if len(p.Refusals) > 0 {
		return errRefused
	}
	return nil
}

func describePreflight(w io.Writer, p api.Preflight) error {
	fmt.Fprintf(w, "%s: %s -> %s, dry run\n", p.Pod, p.From, p.To)
	image := "is there"
	if n := len(p.MissingLayers); n > 0 {
		image = fmt.Sprintf("%s to send, %s", count(n, "layer"), size(p.MissingBytes))
	}
	for _, line := range [][2]string{
		{"processes", fmt.Sprintf("%d with %s, looked at in %s", p.Processes, count(p.Descriptors, "open file"), milliseconds(p.MS))},
		{"memory", size(p.MemoryBytes) + " at most"},
		{"files", fmt.Sprintf("%s of its own, %s", count(int(p.Files), "file"), size(p.FilesBytes))},
		{"image", image},
	} {
		fmt.Fprintf(w, "  %-9s  %s\n", line[0], line[1])
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(w, "  %-9s  %s\n", "warning", warning)
	}
	if len(p.Refusals) == 0 {
		_, err := fmt.Fprintf(w, "%s can move to %s. Nothing was changed.\n", p.Pod, p.To)
		return err
	}
	fmt.Fprintf(w, "%s can't move to %s:\n", p.Pod, p.To)
	tellRefusals(w, p.Refusals)
	_, err := fmt.Fprintln(w, "Nothing was changed.")
	return err
}

// tellRefusals writes each reason on a line, and below it what can be done.
func tellRefusals(w io.Writer, refusals []api.Refusal) {
	for _, r := range refusals {
		fmt.Fprintf(w, "  %s: %s\n", r.Who(), r.Reason)
		if r.Cure != "" {
			fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(r.Cure, "\n", "\n    "))
		}
	}
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
