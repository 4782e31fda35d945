package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/drover-mesh/drover/agent/api"
)

// commandEnded is the exit code of a command that was run in a pod; it becomes drover's own.
type commandEnded int

func (e commandEnded) Error() string { return fmt.Sprintf("the command ended with code %d", int(e)) }

func (c *cli) podExec() *cobra.Command {
	e := api.Exec{}
	stdin := false
	cmd := &cobra.Command{
		Use:   "exec POD [-it] [-c CONTAINER] -- COMMAND [ARG...]",
		Short: "Run a command in a pod",
		Long: `Runs a command in a container of a running pod, wherever that is, as its user and with its environment.
drover ends with the command's exit code.

A pod can't move while something that was started so runs in it: CRIU can't take along what doesn't descend from the
container's first process. drover migrate says so and names it.`,
		Example: "  drover pod exec redis -- redis-cli info memory\n  drover pod exec -it shop -c web -- sh",
		Args:    cobra.MinimumNArgs(2),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			e.Pod, e.Command = args[0], args[1:]
			e.Stdout, e.Stderr = c.out, c.err
			if stdin {
				e.Stdin = c.in
			}
			if e.TTY {
				restore, err := c.takeTerminal(ctx, &e)
				if err != nil {
					return err
				}
				defer restore()
			}
			code, err := client.Exec(ctx, e)
			if err != nil {
				return err
			}
			if code != 0 {
				return commandEnded(code)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", false, "pass the standard input on")
	cmd.Flags().BoolVarP(&e.TTY, "tty", "t", false, "give the command a terminal; needs one here")
	cmd.Flags().StringVarP(&e.Container, "container", "c", "", "`name` of the container (default: the first)")
	cmd.Flags().SetInterspersed(true)
	return cmd
}

// takeTerminal passes every key of this terminal on, and its size as it changes, until restore is called.
func (c *cli) takeTerminal(ctx context.Context, e *api.Exec) (restore func(), err error) {
	in, ok := c.in.(*os.File)
	if !ok || !isTerminal(in) {
		return nil, &api.Error{Code: api.InvalidArgument, Why: "--tty needs a terminal, and the standard input is none", Cure: "leave out -t"}
	}
	fd := int(in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("taking the terminal: %w", err)
	}
	changes := make(chan os.Signal, 1)
	changes <- unix.SIGWINCH // the first size
	signal.Notify(changes, unix.SIGWINCH)
	ctx, stop := context.WithCancel(ctx)
	sizes := make(chan api.Size)
	e.Sizes = sizes
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changes:
			}
			columns, rows, err := term.GetSize(fd)
			if err != nil {
				continue
			}
			select {
			case sizes <- api.Size{Rows: rows, Columns: columns}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(changes)
		stop()
		<-done
		_ = term.Restore(fd, before) // a terminal that is gone needs none
	}, nil
}
