// Package demo moves a live Redis around the sites of a lab, with a client outside that counts over one connection, and
// tells what the client noticed.
package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
	"github.com/drover-mesh/drover/test/workload"
)

// Options say what is shown.
type Options struct {
	Name       string // of the lab
	Sites      int
	Conditions wan.Conditions
	Moves      int
	Fill       int64 // bytes of random data in the Redis
}

// Result is what a demonstration found. Its JSON names are stable.
type Result struct {
	Sites  []string       `json:"sites"`
	WAN    WAN            `json:"wan"`
	Moves  []Move         `json:"moves"`
	Client workload.Count `json:"client"`
	Leaks  []lab.Leak     `json:"leaks"`
}

// WAN is the network between the sites.
type WAN struct {
	RateBit int64   `json:"rate_bit"` // 0 is unlimited
	RTTms   float64 `json:"rtt_ms"`
}

// Move is a move, and what the client saw of it.
type Move struct {
	api.Report
	ClientGapMS float64 `json:"client_gap_ms"` // the longest wait for an answer
	WANBytes    uint64  `json:"wan_bytes"`     // what the network carried from the source to the target meanwhile
}

// Screen shows how a demonstration goes on.
type Screen interface {
	Say(line string)
	api.Progress
	Moved(Move)
}

// Run starts a lab, shows the moves, and takes the lab down. The error says what went wrong; the result has what was found
// up to then.
func Run(ctx context.Context, o Options, s Screen) (r Result, err error) {
	r = Result{Leaks: []lab.Leak{}, Moves: []Move{}, WAN: WAN{RateBit: int64(o.Conditions.Rate), RTTms: api.Milliseconds(2 * o.Conditions.Delay)}}
	image, err := workload.Image(ctx, s.Say, "redis-server")
	if err != nil {
		return r, err
	}
	before, err := lab.Snapshot()
	if err != nil {
		return r, err
	}
	l, err := lab.Up(ctx, lab.Options{Name: o.Name, Sites: o.Sites, Conditions: o.Conditions}, s.Say)
	if err != nil {
		return r, err
	}
	err = show(ctx, o, l, image, s, &r)
	// The lab goes down however it went.
	clean := context.WithoutCancel(ctx)
	s.Say("taking the lab down")
	err = errors.Join(err, l.Down(clean))
	leaks, leakErr := before.Leaks(clean)
	r.Leaks = leaks
	if len(leaks) > 0 {
		leakErr = errors.Join(leakErr, fmt.Errorf("the lab left something behind: %v", leaks))
	}
	return r, errors.Join(err, leakErr)
}

func show(ctx context.Context, o Options, l *lab.Lab, image string, s Screen, r *Result) error {
	for _, site := range l.Sites() {
		r.Sites = append(r.Sites, site.Name)
	}
	socket, err := l.Socket(r.Sites[0])
	if err != nil {
		return err
	}
	client := api.NewClient(socket)
	defer client.Close()
	pod, err := Deploy(ctx, client, "redis", image, workload.Redis)
	if err != nil {
		return err
	}
	s.Say(fmt.Sprintf("pod %s runs on %s with the address %s", pod.Name, pod.Node, pod.Address))
	counter, err := workload.NewCounter(ctx, l.Dialer(lab.ClientSite), net.JoinHostPort(pod.Address, "6379"))
	if err != nil {
		return err
	}
	if err := counter.Fill(ctx, o.Fill); err != nil {
		return err
	}
	s.Say(fmt.Sprintf("a client outside the mesh holds one connection to it, has stored %d KiB, and counts", o.Fill>>10))
	counter.Start()
	moved := moves(ctx, o, l, client, counter, s, r)
	r.Client, err = counter.Stop(context.WithoutCancel(ctx))
	if moved != nil || err != nil {
		return errors.Join(moved, err)
	}
	if c := r.Client; c.Lost > 0 || c.Duplicated > 0 || c.Resets > 0 {
		return fmt.Errorf("the client lost %d increments, has %d twice and %d resets", c.Lost, c.Duplicated, c.Resets)
	}
	return nil
}

// Deploy loads an image under a name and runs a pod of it, on the node that the client asks.
func Deploy(ctx context.Context, client *api.Client, name, image string, manifest []byte) (api.Pod, error) {
	f, err := os.Open(image)
	if err != nil {
		return api.Pod{}, err
	}
	defer f.Close()
	if _, err := client.LoadImage(ctx, api.LoadImage{Name: name}, f); err != nil {
		return api.Pod{}, err
	}
	asked, err := client.GetStatus(ctx)
	if err != nil {
		return api.Pod{}, err
	}
	return client.RunPod(ctx, bytes.Clone(manifest), asked.Node)
}

// moves moves the pod from site to site, round and round.
func moves(ctx context.Context, o Options, l *lab.Lab, client *api.Client, counter *workload.Counter, s Screen, r *Result) error {
	for i := range o.Moves {
		if err := counter.Await(ctx, 3); err != nil {
			return err
		}
		counter.Longest()
		from, to := r.Sites[i%len(r.Sites)], r.Sites[(i+1)%len(r.Sites)]
		sent, err := carried(ctx, l, from, to)
		if err != nil {
			return err
		}
		report, err := client.Migrate(ctx, "redis", to, s)
		if err != nil {
			return err
		}
		now, err := carried(ctx, l, from, to)
		if err != nil {
			return err
		}
		if err := counter.Await(ctx, 3); err != nil {
			return err
		}
		m := Move{Report: report, ClientGapMS: api.Milliseconds(counter.Longest()), WANBytes: now - sent}
		r.Moves = append(r.Moves, m)
		s.Moved(m)
	}
	return nil
}

// carried is what the network has carried from a site to another, in bytes of IP packets.
func carried(ctx context.Context, l *lab.Lab, from, to string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	links, err := l.WAN().Links(ctx)
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		if link.From == from && link.To == to {
			return link.Counters.Sent.Bytes, nil
		}
	}
	return 0, fmt.Errorf("the network has no link from %s to %s", from, to)
}
