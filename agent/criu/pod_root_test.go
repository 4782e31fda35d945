//go:build root

package criu

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"
)

const (
	podAddress    = "10.99.7.5"
	clientAddress = "10.99.7.1"
	podPort       = "6379"
)

// servePod is the program in the container. It holds 8 MiB of random data, and to each line it answers with the hash of
// all lines so far and of that data: a lost, a doubled and a damaged byte all show.
func servePod() int {
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	config := net.ListenConfig{}
	config.SetMultipathTCP(false) // CRIU refuses it
	listener, err := config.Listen(context.Background(), "tcp4", ":"+podPort)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	held, err := hold()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("ready %x\n", sha256.Sum256(data))
	conn, err := listener.Accept()
	if err != nil {
		return 1
	}
	var sum [32]byte
	for in := bufio.NewReader(conn); ; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return 1
		}
		if string(line) == "mptcp\n" { // something that CRIU can't dump
			config.SetMultipathTCP(true)
			if _, err := config.Listen(context.Background(), "tcp4", ":6380"); err != nil {
				return 1
			}
		}
		if err := held.check(); err != nil {
			fmt.Fprintln(conn, err)
			return 1
		}
		sum = sha256.Sum256(append(sum[:], line...))
		content := sha256.Sum256(data)
		if _, err := fmt.Fprintf(conn, "%x %x\n", sum, content); err != nil {
			return 1
		}
	}
}

// client holds the one connection to the pod and knows what it must answer.
type client struct {
	conn    net.Conn
	in      *bufio.Reader
	n       int
	sum     [32]byte
	content string
}

// dial connects from the client's network namespace.
func dial(t *testing.T) *client {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		ns, err := netns.GetFromName(clientNS)
		if err == nil {
			err = netns.Set(ns)
		}
		var conn net.Conn
		if err == nil {
			dialer := net.Dialer{Timeout: 10 * time.Second}
			dialer.SetMultipathTCP(false)
			conn, err = dialer.Dial("tcp4", podAddress+":"+podPort)
		}
		done <- result{conn, err}
	}()
	r := <-done
	require.NoError(t, r.err)
	t.Cleanup(func() { r.conn.Close() })
	return &client{conn: r.conn, in: bufio.NewReader(r.conn)}
}

// ask proves that the pod is alive, the same, and on the same connection.
func (c *client) ask(t *testing.T) {
	t.Helper()
	c.n++
	c.tell(t, fmt.Sprintf("line %d\n", c.n))
}

func (c *client) tell(t *testing.T, line string) {
	t.Helper()
	require.NoError(t, c.conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := c.conn.Write([]byte(line))
	require.NoError(t, err, "the pod's connection")
	answer, err := c.in.ReadString('\n')
	require.NoError(t, err, "the pod's connection")
	c.sum = sha256.Sum256(append(c.sum[:], line...))
	var sum, content string
	_, err = fmt.Sscan(answer, &sum, &content)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x", c.sum), sum, "the pod has lost or doubled a line")
	if c.content == "" {
		c.content = content
	}
	require.Equal(t, c.content, content, "the pod's memory has changed")
}

// silent proves that the pod doesn't answer.
func (c *client) silent(t *testing.T) {
	t.Helper()
	require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := c.in.Peek(1)
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout(), "%v", err)
}
