package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) nodeLabel() *cobra.Command {
	var overwrite bool
	cmd := &cobra.Command{
		Use:   "label NODE KEY=VALUE... KEY-...",
		Short: "Set and remove labels of a node, for the nodeSelector of pods",
		Long: `Sets labels, and removes those whose key ends with '-'. What is set here goes before the labels of the
node's configuration file; removed here, such a label has the file's value again.`,
		Example: "  drover node label fra disk=ssd rack=r1\n  drover node label fra disk=nvme --overwrite\n  drover node label fra rack-",
		Args:    cobra.MinimumNArgs(2),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			change := api.LabelChange{Set: map[string]string{}, Overwrite: overwrite}
			for _, arg := range args[1:] {
				key, value, set := strings.Cut(arg, "=")
				switch {
				case set:
					change.Set[key] = value
				case strings.HasSuffix(arg, "-"):
					change.Remove = append(change.Remove, strings.TrimSuffix(arg, "-"))
				default:
					return api.Errorf(api.InvalidArgument, "labelling node "+args[0], "%q is neither KEY=VALUE nor KEY-", arg)
				}
			}
			node, err := client.LabelNode(ctx, args[0], change)
			if err != nil {
				return err
			}
			return c.print(node, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s has the labels %s\n", node.Name, strings.Join(labelList(node.Labels), ", "))
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "change the value of a label that is set already")
	return cmd
}

func (c *cli) nodeCordon(cordon bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cordon NODE",
		Short:   "Keep new pods and moves away from a node; its pods stay",
		Example: "  drover node cordon fra",
		Args:    cobra.ExactArgs(1),
	}
	done := "is cordoned: no pod is started on it or moved to it"
	if !cordon {
		cmd.Use, cmd.Short, cmd.Example = "uncordon NODE", "Let new pods and moves come to a node again", "  drover node uncordon fra"
		done = "is open to pods"
	}
	cmd.RunE = c.query(func(ctx context.Context, client *api.Client, args []string) error {
		node, err := client.CordonNode(ctx, args[0], cordon)
		if err != nil {
			return err
		}
		return c.print(node, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, node.Name, done)
			return err
		})
	})
	return cmd
}

func (c *cli) nodeRemove() *cobra.Command {
	var o api.RemoveNodeOptions
	cmd := &cobra.Command{
		Use:   "rm NODE",
		Short: "Remove a node from the mesh",
		Long: `Makes the mesh forget a node. Its certificates are void from then on: it can come back only by joining anew.

A node that runs pods is not removed: drain it first. One whose agent is alive is removed only with --force.

The pods and volumes of a host that is lost are on no other node; to give them up takes --delete-pods. Make sure
that the host is off: if it was only cut off, its pods run on there, while the mesh gives their names and
addresses to others.`,
		Example: "  drover node drain fra && drover node rm fra --force\n  drover node rm fra --delete-pods    # the host is lost for ever",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			lost, err := client.RemoveNode(ctx, args[0], o)
			if err != nil {
				return err
			}
			return c.print(lost, func(w io.Writer) error {
				fmt.Fprintf(w, "%s is removed from the mesh\n", lost.Node)
				return fields(w, [2]string{"lost pods", strings.Join(lost.Pods, ", ")}, [2]string{"lost volumes", strings.Join(lost.Volumes, ", ")})
			})
		}),
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "remove it although its agent is alive")
	cmd.Flags().BoolVar(&o.DeletePods, "delete-pods", false, "give up the pods and volumes of a host that is lost")
	return cmd
}
