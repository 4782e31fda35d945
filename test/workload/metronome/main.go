// Command metronome watches the clocks and the timers of the host that it is on, without end. To whoever connects to its
// address it tells what it saw since the last one did: one line of JSON, a Report of package clocks.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"

	"github.com/drover-mesh/drover/test/workload/clocks"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "usage: %s ADDRESS\n", os.Args[0])
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "metronome:", serve(os.Args[1]))
	os.Exit(1)
}

// serve returns why it can't go on.
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
