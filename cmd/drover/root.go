package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

// defaultSocket is where an agent with the default configuration listens.
const defaultSocket = "/run/drover/agent.sock"

// cli is one call of drover: its streams and its global flags.
type cli struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
	width    func() int                    // of the terminal that out is, in columns; nil if it is none
	notify   func(chan<- os.Signal) func() // sends interrupts to the channel until the returned function is called
	socket   string
	output   string
	machine  machine // that mesh init and join make a node of
	ran      bool    // a command has begun: what fails now is no wrong usage
}

// run does what args say and returns the exit code.
func (c *cli) run(ctx context.Context, args []string) int {
	root := c.command()
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !c.ran {
		err = usageError{err: err, command: cmd.CommandPath(), line: cmd.UseLine()}
	}
	c.report(err)
	return exitCode(err)
}

func (c *cli) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "drover",
		Short: "Move running pods between sites",
		Long: `drover moves running, stateful pods between the sites of a mesh: with their address, their memory,
their files and their open TCP connections.

Exit codes: 0 done; 1 failed; 2 wrong usage or input; 3 not found; 4 an agent, node or the quorum can't be
reached; 5 undone: a move failed or was cancelled, and the pod runs where it ran; 6 refused as things
stand; 130 interrupted. drover pod exec ends with the code of its command.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&c.socket, "socket", cmp.Or(os.Getenv("DROVER_SOCKET"), defaultSocket), "`path` of the agent's socket; default also from DROVER_SOCKET")
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "table", "`format` of the output: table, wide, json or yaml")
	root.AddCommand(
		c.podCommand(), c.migrateCommand(), c.migrationCommand(), c.imageCommand(), c.volumeCommand(), c.nodeCommand(), c.statusCommand(), c.meshCommand(),
		c.versionCommand(), c.agentCommand(), c.fenceCommand(), newDoctorCommand(), newLabCommand(), newManCommand(),
	)
	c.noteRuns(root)
	c.complete(root)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return root
}

// noteRuns lets every command say that it has begun, and makes those that only have subcommands refuse unknown ones.
func (c *cli) noteRuns(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		c.noteRuns(sub)
	}
	if cmd.RunE == nil {
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.ran = true
		return run(cmd, args)
	}
}

// query makes the RunE of a command that asks an agent: an interrupt ends it.
func (c *cli) query(do func(ctx context.Context, client *api.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := c.checkOutput(); err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), interrupts()...)
		defer stop()
		client := api.NewClient(c.socket)
		defer client.Close()
		err := do(ctx, client, args)
		if err != nil && ctx.Err() != nil {
			return errInterrupted
		}
		return err
	}
}

// interrupts are the signals by which a person or a supervisor stops a command.
func interrupts() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }
