package criu

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"golang.org/x/sys/unix"
)

// swrk is a CRIU process that serves one request: criu/cr-service.c, cr_service_work.
//
// go-criu's own client can't be used, only its messages: it keeps CRIU in the caller's session, hides its process id, and
// stops answering when a notification fails.
type swrk struct {
	cmd    *exec.Cmd
	conn   *net.UnixConn
	answer [1 << 14]byte
}

// startSwrk starts CRIU, by the command apart, in a session of its own. It neither dies with its caller nor notices, until it
// has something to tell.
func startSwrk(program string, apart []string) (*swrk, error) {
	fds, err := unix.Socketpair(unix.AF_LOCAL, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("starting CRIU: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "criu")
	defer theirs.Close()
	ours := os.NewFile(uintptr(fds[0]), "criu")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, fmt.Errorf("starting CRIU: %w", err)
	}
	args := append(append([]string{}, apart...), named(program), "swrk", "3")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("starting CRIU: %w; run `drover doctor`", err)
	}
	return &swrk{cmd: cmd, conn: conn.(*net.UnixConn)}, nil
}

// send asks for something, or answers a notification.
func (s *swrk) send(req *rpc.CriuReq) error {
	data, err := req.MarshalVT()
	if err == nil {
		_, err = s.conn.Write(data)
	}
	if err != nil {
		return fmt.Errorf("talking to CRIU: %w", err)
	}
	return nil
}

// reply answers the notification that receive has returned. CRIU goes on, or backs out.
func (s *swrk) reply(goOn bool) error {
	kind := rpc.CriuReqType_NOTIFY
	return s.send(&rpc.CriuReq{Type: &kind, NotifySuccess: &goOn})
}

// errRefused is CRIU's no; the reason stands in its log.
var errRefused = errors.New("CRIU failed")

// receive waits for the next notification, or for the end of the request, when the notification is "".
func (s *swrk) receive() (notification string, resp *rpc.CriuResp, err error) {
	n, err := s.conn.Read(s.answer[:])
	if err != nil {
		if errors.Is(err, io.EOF) {
			return "", nil, fmt.Errorf("%w: it ended without an answer", errRefused)
		}
		return "", nil, fmt.Errorf("talking to CRIU: %w", err)
	}
	resp = &rpc.CriuResp{}
	if err := resp.UnmarshalVT(s.answer[:n]); err != nil {
		return "", nil, fmt.Errorf("talking to CRIU: %w", err)
	}
	if !resp.GetSuccess() {
		return "", resp, errRefused
	}
	if resp.GetType() == rpc.CriuReqType_NOTIFY {
		return resp.GetNotify().GetScript(), resp, nil
	}
	return "", resp, nil
}

// close hangs up, which makes a CRIU that is still at work back out, and waits for its end.
func (s *swrk) close() error {
	s.conn.Close()
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("CRIU: %w", err)
	}
	return nil
}

// environment is the agent's without what is meant for the agent alone.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES":
		default:
			env = append(env, v)
		}
	}
	return env
}
