package transport

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// socketBuffer holds 60 ms of 1 Gbit/s, so that a busy core loses no packet. quic-go wants 7 MB.
const socketBuffer = 8 << 20

// growBuffers gives the socket large buffers, past net.core.[rw]mem_max if this process may
// (CAP_NET_ADMIN). If it can't, quic-go's own complaint, which goes to the default logger, is silenced: the
// caller logs the error.
func growBuffers(socket *net.UDPConn) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) {
		err = errors.Join(
			growBuffer(int(fd), unix.SO_RCVBUF, unix.SO_RCVBUFFORCE),
			growBuffer(int(fd), unix.SO_SNDBUF, unix.SO_SNDBUFFORCE),
		)
	})
	if err = errors.Join(controlErr, err); err != nil {
		_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	}
	return err
}

func growBuffer(fd, option, force int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, socketBuffer); err != nil {
			return err
		}
	}
	// The kernel doubles what it is given, for its own bookkeeping (socket(7)).
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	if err != nil {
		return err
	}
	if got < 2*socketBuffer {
		return fmt.Errorf("wanted %d bytes, got %d", socketBuffer, got/2)
	}
	return nil
}
