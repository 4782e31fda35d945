package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socketMode lets root and the socket's group in.
const socketMode = 0o660

// stopPatience is how long Serve waits for requests whose context it has ended.
const stopPatience = 5 * time.Second

// ListenUnix listens on a unix socket of mode 0660. A socket file that a dead agent left is replaced; if an agent
// answers there, or the path is anything but a socket, it fails. Closing the listener removes the file.
func ListenUnix(path string) (net.Listener, error) {
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	// The kernel gives the file the mode of the socket (net/unix/af_unix.c, unix_bind_bsd): it is never wider.
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var err error
		if ctl := conn.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) }); ctl != nil {
			return ctl
		}
		return err
	}}
	ln, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	if err := os.Chmod(path, socketMode); err != nil { // the umask may have taken the group's bits
		return nil, errors.Join(fmt.Errorf("listening on %s: %w", path, err), ln.Close())
	}
	return ln, nil
}

// lockDir keeps two agents that start together from removing each other's socket.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), d.Close())
	}
	return func() { _ = d.Close() }, nil // closing unlocks
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("the file there is not a socket")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(errors.New("another agent answers there"), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("asking whether an agent answers there: %w", err)
	}
	return os.Remove(path)
}

// Serve serves handler on ln until ctx ends, which ends the contexts of all requests too, and returns when they have
// returned, or after five seconds. It closes ln. Its error is nil if ctx ended it.
func Serve(ctx context.Context, ln net.Listener, handler http.Handler, log *slog.Logger) error {
	protocols := cleartextHTTP2()
	protocols.SetHTTP1(true) // for curl
	server := &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the API on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	if server.Shutdown(patience) != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the API on %s: %w", ln.Addr(), err)
	}
	return nil
}
