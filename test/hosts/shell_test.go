//go:build hosts

package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// shell is a login to a guest as root.
type shell struct{ client *ssh.Client }

// logIn tries until the guest lets us in, has ended, or ctx ends.
func logIn(ctx context.Context, address, keyFile string, ended <-chan struct{}) (*shell, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", keyFile, err)
	}
	config := &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, Timeout: 5 * time.Second,
		// The guest is a child of ours, on the loopback, and its keys are of the image.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		client, err := dialSSH(ctx, address, config)
		if err == nil {
			return &shell{client}, nil
		}
		select {
		case <-tick.C:
		case <-ended:
			return nil, fmt.Errorf("it has ended: %w", err)
		case <-ctx.Done():
			return nil, fmt.Errorf("nobody answers: %w", err)
		}
	}
}

// dialSSH is ssh.Dial, bounded: QEMU accepts connections long before the guest does.
func dialSSH(ctx context.Context, address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(limit, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(limit, func() { conn.Close() })
	sshConn, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if !stop() && err == nil {
		err = errors.Join(context.Cause(limit), sshConn.Close())
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(sshConn, channels, requests), nil
}

// run executes a script and returns what it printed. The error of a script that fails holds all that it said.
func (s *shell) run(ctx context.Context, script string) (string, error) {
	session, err := s.client.NewSession()
	if err != nil {
		return "", fmt.Errorf("opening a session: %w", err)
	}
	defer session.Close()
	defer context.AfterFunc(ctx, func() { session.Close() })()
	var out, complaints strings.Builder
	session.Stdin = strings.NewReader(script)
	session.Stdout, session.Stderr = &out, &complaints
	if err := session.Run("bash -euo pipefail -s"); err != nil {
		return out.String(), errors.Join(ctx.Err(), fmt.Errorf("%w\n%s%s", err, out.String(), complaints.String()))
	}
	return out.String(), nil
}

// dial connects from the guest.
func (s *shell) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return s.client.DialContext(ctx, network, address)
}

func (s *shell) close() { s.client.Close() }
