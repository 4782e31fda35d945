package transport_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/drover-mesh/drover/transport"
)

// The test binary, started with these in its environment, is a node that echoes Move streams until its
// standard input ends: something that can be killed.
const (
	childIdentity = "TRANSPORT_TEST_IDENTITY"
	childAddr     = "TRANSPORT_TEST_ADDR"
)

func TestMain(m *testing.M) {
	if os.Getenv(childIdentity) != "" {
		if err := runChild(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runChild() error {
	id, err := transport.LoadIdentity(os.Getenv(childIdentity))
	if err != nil {
		return err
	}
	tr, err := transport.Listen(transport.Config{
		Addr:     netip.MustParseAddrPort(os.Getenv(childAddr)),
		Identity: id,
		Resolve:  func(string) (netip.AddrPort, error) { return netip.AddrPort{}, io.EOF },
		Log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	defer tr.Close()
	l := tr.Listener(transport.Move)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	fmt.Println(tr.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// child starts the node as a process. The returned function kills it (SIGKILL) and waits.
func (m *mesh) child(node string, addr netip.AddrPort) (at netip.AddrPort, kill func()) {
	m.t.Helper()
	self, err := os.Executable()
	try(m.t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childIdentity+"="+m.dir+"/"+node, childAddr+"="+addr.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // ends with this process, and the child with it
	try(m.t, err)
	out, err := cmd.StdoutPipe()
	try(m.t, err)
	try(m.t, cmd.Start())
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = stdin.Close()
		}
	}
	m.t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		m.t.Fatalf("the child said nothing: %v", err)
	}
	at, err = netip.ParseAddrPort(line[:len(line)-1])
	try(m.t, err)
	m.route(node, at)
	return at, kill
}
