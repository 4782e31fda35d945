package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

// maxManifest is far more than any pod needs.
const maxManifest = 1 << 20

func (c *cli) podCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "pod", Short: "Run, show, enter, stop and remove pods"}
	cmd.AddCommand(c.podRun(), c.podList(), c.podGet(), c.podDescribe(), c.podLogs(), c.podExec(), c.podCopy(),
		c.podStop(), c.podStart(), c.podRemove(), c.podExplain())
	return cmd
}

func (c *cli) podRun() *cobra.Command {
	var file, node string
	cmd := &cobra.Command{
		Use:     "run -f FILE|-",
		Short:   "Run a pod from a Kubernetes v1 Pod",
		Example: "  drover pod run -f redis.yaml\n  drover pod run -f - --node fra < redis.yaml",
		Args:    cobra.NoArgs,
		RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
			manifest, err := c.readManifest(file)
			if err != nil {
				return err
			}
			var pod api.Pod
			err = c.waiting(func() string { return "starting the pod, with what it lacks of its images" }, func() (err error) {
				pod, err = client.RunPod(ctx, manifest, node)
				return err
			})
			if err != nil {
				return err
			}
			return c.print(pod, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s runs on %s with the address %s\n%s", pod.Name, pod.Node, pod.Address, ifLost(pod))
				return err
			})
		}),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`manifest`, YAML or JSON; - reads stdin")
	cmd.Flags().StringVar(&node, "node", "", "`node` to run it on (default: the manifest's nodeName, or the one that suits it best)")
	_ = cmd.MarkFlagRequired("file") // the flag is there
	return cmd
}

func (c *cli) readManifest(file string) ([]byte, error) {
	r := c.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, inputError("reading the manifest", err)
		}
		defer f.Close()
		r = f
	}
	manifest, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, inputError("reading the manifest", err)
	}
	if len(manifest) > maxManifest {
		return nil, api.Errorf(api.InvalidArgument, "reading the manifest", "%s is larger than %s", file, size(maxManifest))
	}
	return manifest, nil
}

// inputError is a file of the user's that can't be read.
func inputError(what string, err error) error {
	return api.Errorf(api.InvalidArgument, what, "%w", err)
}

func (c *cli) podList() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the pods of the mesh",
		Example: "  drover pod ls\n  drover pod ls -o wide",
		Args:    cobra.NoArgs,
		RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
			pods, err := client.ListPods(ctx, false)
			if err != nil {
				return err
			}
			return c.print(map[string]any{"pods": pods}, func(w io.Writer) error { return c.podTable(w, pods) })
		}),
	}
}

func (c *cli) podTable(w io.Writer, pods []api.Pod) error {
	headings := []string{"NAME", "READY", "STATUS", "RESTARTS", "AGE", "NODE", "ADDRESS"}
	if c.wide() {
		headings = append(headings, "SITE", "EPOCH", "FAILOVER", "FAILED OVER FROM", "IMAGES", "UID", "REASON")
	}
	var rows [][]string
	for _, p := range pods {
		ready, restarts := containerCounts(p)
		row := []string{p.Name, ready, string(p.Phase), restarts, age(c.now(), p.Created), p.Node, p.Address}
		if c.wide() {
			row = append(row, p.Site, fmt.Sprint(p.Epoch), p.Failover, originInShort(p.Origin), strings.Join(imagesOf(p), ","), p.UID, p.Reason)
		}
		rows = append(rows, row)
	}
	return table(w, headings, rows)
}

// containerCounts are how many of a pod's containers can serve, of how many, and how often any was started again.
func containerCounts(p api.Pod) (ready, restarts string) {
	run, all, again := 0, 0, 0
	for _, c := range p.Containers {
		again += c.Restarts
		if c.Init {
			continue
		}
		all++
		if c.Ready {
			run++
		}
	}
	if p.Phase == api.PodUnknown {
		return "", ""
	}
	return fmt.Sprintf("%d/%d", run, all), fmt.Sprint(again)
}

// imagesOf names the images of a pod's containers.
func imagesOf(p api.Pod) []string {
	var names []string
	for _, c := range p.Containers {
		if !slices.Contains(names, c.Image) {
			names = append(names, c.Image)
		}
	}
	return names
}

func (c *cli) podGet() *cobra.Command {
	return &cobra.Command{
		Use:     "get POD",
		Short:   "Show a pod; with -o json or yaml its manifest too",
		Example: "  drover pod get redis\n  drover pod get redis -o yaml",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			pod, err := client.GetPod(ctx, args[0])
			if err != nil {
				return err
			}
			whole := struct {
				api.Pod
				Manifest json.RawMessage `json:"manifest"`
			}{pod, pod.Manifest}
			if len(pod.Manifest) == 0 {
				whole.Manifest = json.RawMessage("null")
			}
			return c.print(whole, func(w io.Writer) error { return c.describePod(w, pod) })
		}),
	}
}

func (c *cli) describePod(w io.Writer, p api.Pod) error {
	created := ""
	if !p.Created.IsZero() {
		created = c.when(p.Created)
	}
	err := fields(w, append([][2]string{
		{"Name", p.Name}, {"UID", p.UID}, {"Status", string(p.Phase)}, {"Reason", p.Reason},
		{"Node", fmt.Sprintf("%s (%s)", p.Node, p.Site)}, {"Address", p.Address}, {"Epoch", fmt.Sprint(p.Epoch)},
		{"Migration", p.Migration}, {"Created", created}, {"Failover", p.Failover},
	}, c.originFields(p.Origin)...)...)
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, one := range p.Containers {
		name, pid, code := one.Name, "", ""
		if one.Init {
			name += " (init)"
		}
		if one.PID != 0 {
			pid = fmt.Sprint(one.PID)
		}
		if one.State == "Exited" {
			code = fmt.Sprint(one.ExitCode)
		}
		rows = append(rows, []string{name, one.State, code, fmt.Sprint(one.Restarts), pid, one.Image})
	}
	return table(w, []string{"CONTAINER", "STATE", "EXIT CODE", "RESTARTS", "PID", "IMAGE"}, rows)
}

// when says when something was, and how long ago.
func (c *cli) when(t time.Time) string {
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format("2006-01-02 15:04:05 MST"), age(c.now(), t))
}

func (c *cli) podRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "rm POD",
		Short: "Stop a pod and remove it with all that it wrote",
		Long: `Stops a pod, wherever it runs, and removes it with its address and all that it wrote. Named volumes and
images stay. drover pod stop keeps what it wrote.`,
		Example: "  drover pod rm redis",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			if err := client.RemovePod(ctx, args[0]); err != nil {
				return err
			}
			return c.print(map[string]any{"name": args[0], "removed": true}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is removed\n", args[0])
				return err
			})
		}),
	}
}
