// Command metronome watches the clocks and the timers of the host that it is on, without end. To whoever connects to its
// address it tells what it saw since the last one did: one line of JSON, a Report of package clocks.
//
// With --background it starts another of itself, which nobody waits for, and ends.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/drover-mesh/drover/test/workload/clocks"
)

func main() {
	background := flag.Bool("background", false, "leave another process behind")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintf(os.Stderr, "usage: %s [--background] ADDRESS\n", os.Args[0])
		os.Exit(2)
	}
	do := serve
	if *background {
		do = leave
	}
	if err := do(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "metronome:", err)
		os.Exit(1)
	}
}

// leave starts a metronome in a session of its own.
func leave(address string) error {
	cmd := exec.Command(os.Args[0], address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// serve ends only if it can't go on.
func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	watch := clocks.Start()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		json.NewEncoder(conn).Encode(watch.Report()) //nolint:errcheck // the asker went away
		conn.Close()
	}
}
