package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) meshToken() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke the tokens with which hosts join"}
	cmd.AddCommand(c.tokenCreate(), c.tokenList(), c.tokenRevoke())
	return cmd
}

// newToken is a token as drover mesh token create prints it.
type newToken struct {
	ID      string    `json:"id"`
	Token   string    `json:"token"`
	Address string    `json:"address"`
	Command string    `json:"command"` // to run on the new host
	Server  bool      `json:"server"`
	Node    string    `json:"node"`
	Uses    int       `json:"uses"`
	Expires time.Time `json:"expires"`
}

func (c *cli) tokenCreate() *cobra.Command {
	var o api.TokenOptions
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token, and print the command with which a host joins by it",
		Long: `Make a token, and print the command with which a host joins by it. The token is a secret: whoever has it
can make a host a node, until it expires or its uses are used up. The mesh keeps only its hash: it can't be
shown again.

A server holds the mesh's log and votes, and gets the key of the mesh's authority, so that it can admit hosts
itself. Everything else does as well on a plain node.`,
		Example: `  drover mesh token create
  drover mesh token create --server --node fra --expires 10m
  drover mesh token create --uses 20 --expires 24h`,
		Args: cobra.NoArgs,
		RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
			made, err := client.CreateToken(ctx, o)
			if err != nil {
				return err
			}
			t := newToken{
				ID: made.ID, Token: made.Secret, Address: made.Address, Server: made.Server, Node: made.Node, Uses: made.Uses, Expires: made.Expires,
				Command: "drover mesh join " + made.Secret + "@" + made.Address,
			}
			if t.Node != "" {
				t.Command += " --node " + t.Node
			}
			return c.print(t, t.explain)
		}),
	}
	cmd.Flags().BoolVar(&o.Server, "server", false, "for servers; otherwise for plain nodes")
	cmd.Flags().StringVar(&o.Node, "node", "", "the only `name` that it admits (default: any)")
	cmd.Flags().IntVar(&o.Uses, "uses", 1, "`number` of hosts that may join with it")
	cmd.Flags().DurationVar(&o.Lifetime, "expires", time.Hour, "how long it is good, from 1m to 720h")
	return cmd
}

func (t newToken) explain(w io.Writer) error {
	_, err := fmt.Fprintf(w, "Token %s admits %s until %s. On the new host:\n\n  %s\n", t.ID, whom(t.Server, t.Node, t.Uses), t.Expires.UTC().Format(time.DateTime+" MST"), t.Command)
	return err
}

// whom says whom a token admits.
func whom(server bool, node string, uses int) string {
	kind := "plain node"
	if server {
		kind = "server"
	}
	switch {
	case node != "":
		return "the " + kind + " " + node
	case uses == 1:
		return "one " + kind
	}
	return fmt.Sprintf("%d %ss", uses, kind)
}

func (c *cli) tokenList() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the tokens, without their secrets",
		Example: "  drover mesh token ls",
		Args:    cobra.NoArgs,
		RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
			tokens, err := client.ListTokens(ctx)
			if err != nil {
				return err
			}
			return c.print(map[string]any{"tokens": tokens}, func(w io.Writer) error { return c.tokenTable(w, tokens) })
		}),
	}
}

func (c *cli) tokenTable(w io.Writer, tokens []api.Token) error {
	headings := []string{"ID", "ROLE", "NODE", "USES LEFT", "STATE", "AGE", "EXPIRES", "USED BY"}
	if c.wide() {
		headings = append(headings, "REASON")
	}
	var rows [][]string
	for _, t := range tokens {
		role := "plain"
		if t.Server {
			role = "server"
		}
		row := []string{
			t.ID, role, t.Node, fmt.Sprintf("%d of %d", t.UsesLeft, t.Uses), string(t.State), age(c.now(), t.Created),
			t.Expires.UTC().Format(time.RFC3339), strings.Join(t.UsedBy, ", "),
		}
		if c.wide() {
			row = append(row, t.Reason)
		}
		rows = append(rows, row)
	}
	return table(w, headings, rows)
}

func (c *cli) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "End a token before its time; nodes that joined with it stay",
		Example: "  drover mesh token revoke k3v7qd2a",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			token, err := client.RevokeToken(ctx, args[0])
			if err != nil {
				return err
			}
			return c.print(token, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "Token %s is revoked.\n", token.ID)
				return err
			})
		}),
	}
}
