package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) podDescribe() *cobra.Command {
	return &cobra.Command{
		Use:     "describe POD",
		Short:   "Show a pod, what its manifest asks for, and its latest moves",
		Example: "  drover pod describe redis",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			pod, err := client.GetPod(ctx, args[0])
			if err != nil {
				return err
			}
			moves, err := client.ListMigrations(ctx)
			if err != nil {
				return err
			}
			moves = slices.DeleteFunc(moves, func(m api.Migration) bool { return m.Pod != pod.Name })
			whole := struct {
				api.Pod
				Manifest   json.RawMessage `json:"manifest"`
				Migrations []api.Migration `json:"migrations"`
			}{pod, pod.Manifest, moves}
			return c.print(whole, func(w io.Writer) error {
				if err := c.describePod(w, pod); err != nil {
					return err
				}
				if err := describeManifest(w, pod.Manifest); err != nil {
					return err
				}
				return describeMoves(w, moves)
			})
		}),
	}
}

// describeManifest shows what is worth knowing of a manifest; a manifest of a newer agent may not be readable.
func describeManifest(w io.Writer, manifest []byte) error {
	var p corev1.Pod
	if err := json.Unmarshal(manifest, &p); err != nil {
		return fmt.Errorf("reading the pod's manifest: %w", err)
	}
	fmt.Fprintln(w)
	policy := p.Spec.RestartPolicy
	if policy == "" {
		policy = corev1.RestartPolicyAlways
	}
	err := fields(w, [][2]string{
		{"Labels", pairs(p.Labels)}, {"Annotations", pairs(p.Annotations)}, {"Restart policy", string(policy)}, {"Node selector", pairs(p.Spec.NodeSelector)},
	}...)
	if err != nil {
		return err
	}
	for _, container := range append(slices.Clone(p.Spec.InitContainers), p.Spec.Containers...) {
		fmt.Fprintf(w, "\nContainer %s:\n", container.Name)
		var ports, mounts []string
		for _, port := range container.Ports {
			ports = append(ports, fmt.Sprintf("%d/%s", port.ContainerPort, strings.ToLower(string(port.Protocol))))
		}
		for _, mount := range container.VolumeMounts {
			mounts = append(mounts, mount.MountPath+" from "+mount.Name)
		}
		err := fields(w, [][2]string{
			{"  Command", strings.Join(append(slices.Clone(container.Command), container.Args...), " ")},
			{"  Ports", strings.TrimSuffix(strings.Join(ports, ", "), "/")}, {"  Mounts", strings.Join(mounts, ", ")},
			{"  Limits", quantities(container.Resources.Limits)}, {"  Requests", quantities(container.Resources.Requests)},
		}...)
		if err != nil {
			return err
		}
	}
	return nil
}

func describeMoves(w io.Writer, moves []api.Migration) error {
	if len(moves) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, m := range moves[max(0, len(moves)-10):] {
		rows = append(rows, []string{m.ID, m.From, m.To, string(m.Phase), m.Reason})
	}
	return table(w, []string{"MOVE", "FROM", "TO", "PHASE", "REASON"}, rows)
}

// pairs writes a map as k=v, in order.
func pairs(m map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, k+"="+m[k])
	}
	return strings.Join(all, ", ")
}

func quantities(list corev1.ResourceList) string {
	texts := map[string]string{}
	for name, quantity := range list {
		texts[string(name)] = quantity.String()
	}
	return pairs(texts)
}
