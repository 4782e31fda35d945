package programs

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"
)

// sshClient holds a shell's loop over an SSH connection.
type sshClient struct {
	conn    *ssh.Client
	session *ssh.Session
	in      io.Writer
	out     *bufio.Reader
	n       int
}

func dialSSH(ctx context.Context, dial Dialer, address string) (Client, error) {
	raw, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	config := &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.Password("drover")},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // the pod has made its key just now
	}
	conn, channels, requests, err := ssh.NewClientConn(raw, address, config)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	c := &sshClient{conn: ssh.NewClient(conn, channels, requests)}
	if err := c.start(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *sshClient) start() (err error) {
	if c.session, err = c.conn.NewSession(); err != nil {
		return err
	}
	if c.in, err = c.session.StdinPipe(); err != nil {
		return err
	}
	out, err := c.session.StdoutPipe()
	if err != nil {
		return err
	}
	c.out = bufio.NewReader(out)
	return c.session.Start("n=0; while read -r x; do n=$((n+1)); echo $n; done")
}

func (c *sshClient) Beat(context.Context) error {
	c.n++
	if _, err := fmt.Fprintln(c.in, "beat"); err != nil {
		return err
	}
	line, err := c.out.ReadString('\n')
	if err == nil && line != fmt.Sprintln(c.n) {
		err = fmt.Errorf("the shell says %q and should say %d", line, c.n)
	}
	return err
}

func (c *sshClient) Close() error { return c.conn.Close() }
