package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/transport"
)

const bulk = 128 << 20

// BenchmarkBulkAgainstTLS sends 128 MiB on a new stream over loopback, which is bound by the CPU: drover's bulk
// connection (QUIC, in user space) against TLS 1.3 over the kernel's TCP.
func BenchmarkBulkAgainstTLS(b *testing.B) {
	from, to := quicPair(b)
	listener := to.Listener(transport.Bulk)
	server := tlsListener(b)
	turns(b,
		func() error {
			return send(listener, func(ctx context.Context) (net.Conn, error) {
				return from.Dial(ctx, to.Node(), transport.Bulk)
			})
		},
		func() error {
			return send(server, func(ctx context.Context) (net.Conn, error) {
				d := tls.Dialer{Config: server.client}
				return d.DialContext(ctx, "tcp", server.Addr().String())
			})
		})
}

// send returns when the accepting side has read all that the dialling side sent.
func send(l net.Listener, dial func(context.Context) (net.Conn, error)) error {
	received := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			received <- err
			return
		}
		defer conn.Close()
		n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{conn}, make([]byte, 1<<20))
		if err == nil && n != bulk {
			err = fmt.Errorf("%d bytes arrived", n)
		}
		received <- err
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	chunk := make([]byte, 1<<20)
	for sent := 0; sent < bulk; sent += len(chunk) {
		if _, err := conn.Write(chunk); err != nil {
			return err
		}
	}
	if err := conn.Close(); err != nil {
		return err
	}
	return <-received
}

func quicPair(b *testing.B) (from, to *transport.Transport) {
	dir := b.TempDir()
	require.NoError(b, transport.InitMesh(dir, "bench", []string{"ams", "fra"}))
	addrs := map[string]netip.AddrPort{}
	start := func(node string) *transport.Transport {
		id, err := transport.LoadIdentity(dir + "/" + node)
		require.NoError(b, err)
		tr, err := transport.Listen(transport.Config{
			Addr: netip.MustParseAddrPort("127.0.0.1:0"), Identity: id, Log: slog.New(slog.DiscardHandler),
			Resolve: func(node string) (netip.AddrPort, error) { return addrs[node], nil },
		})
		require.NoError(b, err)
		b.Cleanup(func() { tr.Close() })
		return tr
	}
	from, to = start("ams"), start("fra")
	addrs["ams"], addrs["fra"] = from.Addr(), to.Addr()
	return from, to
}

type tlsServer struct {
	net.Listener
	client *tls.Config
}

func tlsListener(b *testing.B) tlsServer {
	// Only its certificate is wanted.
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS13})
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return tlsServer{l, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
}
