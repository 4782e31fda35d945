package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

// completionPatience is how long a shell waits for the agent's answer.
const completionPatience = 2 * time.Second

// candidates asks an agent for what may stand in a place, each with a tab and a description behind it.
type candidates func(context.Context, *api.Client) ([]string, error)

// places are the words by which the usage of commands names arguments that an agent can list.
var places = map[string]candidates{"POD": listPods, "NODE": listNodes, "ID": listMoves, "ID|POD": listMoves, "SITE|NODE": listTargets, "IMAGE": listImages}

// complete lets the shell complete arguments by the words that the usage of a command has for them, and flags by their names.
func (c *cli) complete(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		c.complete(sub)
	}
	if words := arguments(cmd.Use); cmd.ValidArgsFunction == nil && slices.ContainsFunc(words, listed) {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) >= len(words) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.candidates(cmd, places[words[len(args)]], begun)
		}
	}
	for flag, list := range map[string]candidates{"to": listTargets, "node": listNodes} {
		if cmd.Flags().Lookup(flag) != nil || cmd.PersistentFlags().Lookup(flag) != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
				return c.candidates(cmd, list, begun) // it fails only for a flag that isn't there
			})
		}
	}
}

func listed(word string) bool { return places[word] != nil }

// arguments are the words for the positional arguments of a usage line such as "cp POD FILE --flag VALUE".
func arguments(usage string) []string {
	var words []string
	for _, word := range strings.Fields(usage)[1:] {
		if strings.HasPrefix(strings.TrimLeft(word, "["), "-") {
			break
		}
		words = append(words, strings.TrimRight(strings.Trim(word, "[]"), "."))
	}
	return words
}

// candidates are those that go on as the user has begun. Without an agent there is nothing to offer: a shell can't show errors.
func (c *cli) candidates(cmd *cobra.Command, list candidates, begun string) ([]string, cobra.ShellCompDirective) {
	if list == nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	client := api.NewClient(c.socket)
	defer client.Close()
	found, err := list(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	other := func(candidate string) bool { return !strings.HasPrefix(candidate, begun) }
	return slices.DeleteFunc(found, other), cobra.ShellCompDirectiveNoFileComp
}

func listPods(ctx context.Context, client *api.Client) ([]string, error) {
	all, err := client.ListPods(ctx, false)
	var found []string
	for _, p := range all {
		found = append(found, p.Name+"\t"+string(p.Phase)+" on "+p.Node)
	}
	return found, err
}

func listNodes(ctx context.Context, client *api.Client) ([]string, error) {
	all, err := client.ListNodes(ctx)
	var found []string
	for _, n := range all {
		found = append(found, n.Name+"\t"+string(n.State)+" at "+n.Site)
	}
	return found, err
}

// targets are where a pod may go to: nodes, and sites that are named otherwise.
func listTargets(ctx context.Context, client *api.Client) ([]string, error) {
	all, err := client.ListNodes(ctx)
	var found, sites []string
	names := map[string]bool{}
	for _, n := range all {
		names[n.Name] = true
	}
	for _, n := range all {
		found = append(found, n.Name+"\tnode at "+n.Site)
		if site := n.Site + "\tsite"; !names[n.Site] && !slices.Contains(sites, site) {
			sites = append(sites, site)
		}
	}
	return append(found, sites...), err
}

func listMoves(ctx context.Context, client *api.Client) ([]string, error) {
	all, err := client.ListMigrations(ctx)
	var found []string
	for _, m := range all {
		found = append(found, m.ID+"\t"+m.Pod+" to "+m.To+", "+string(m.Phase))
	}
	return found, err
}

func listImages(ctx context.Context, client *api.Client) ([]string, error) {
	all, err := client.ListImages(ctx, "")
	var found []string
	for _, i := range all {
		found = append(found, i.Name+"\ton "+i.Node)
	}
	return found, err
}
