// Command drover moves running, stateful pods between sites. It is the agent of a host, and the tool that asks an agent.
package main

import (
	"context"
	"os"
	"os/signal"
	"time"
)

// version is set by the linker: go build -ldflags "-X main.version=...".
var version = "unknown"

func main() {
	c := &cli{
		in:    os.Stdin,
		out:   os.Stdout,
		err:   os.Stderr,
		now:   time.Now,
		width: widthOf(os.Stdout),

		machine: realMachine{},
		notify: func(c chan<- os.Signal) func() {
			signal.Notify(c, interrupts()...)
			return func() { signal.Stop(c) }
		},
	}
	os.Exit(c.run(context.Background(), os.Args[1:]))
}
