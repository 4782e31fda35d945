package transport_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/drover-mesh/drover/transport"
)

// pair returns both ends of a new stream.
func pair(t testing.TB, from, to *transport.Transport, kind transport.Kind) (dialled, accepted *transport.Conn) {
	t.Helper()
	l := to.Listener(kind)
	defer l.Close()
	type result struct {
		conn net.Conn
		err  error
	}
	got := make(chan result, 1)
	go func() {
		conn, err := l.Accept()
		got <- result{conn, err}
	}()
	dialled, err := from.Dial(within(t, 10*time.Second), to.Node(), kind)
	try(t, err)
	r := <-got
	try(t, r.err)
	return dialled, r.conn.(*transport.Conn)
}

func twoNodes(t testing.TB) (ams, fra *transport.Transport) {
	t.Helper()
	m := newMesh(t, "ams", "fra")
	return m.start(m.config("ams")), m.start(m.config("fra"))
}

func TestConnIsANetConn(t *testing.T) {
	ams, fra := twoNodes(t)
	for _, kind := range []transport.Kind{transport.Move, transport.Bulk} {
		nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
			a, b := pair(t, ams, fra, kind)
			return a, b, func() { a.Close(); b.Close() }, nil
		})
	}
}

func TestCloseDeliversWhatWasWritten(t *testing.T) {
	ams, fra := twoNodes(t)
	a, b := pair(t, ams, fra, transport.Move)
	sent := bytes.Repeat([]byte("0123456789"), 100_000)
	_, err := b.Write([]byte("never read by a")) // unread data must not spoil what a sent
	try(t, err)
	_, err = a.Write(sent)
	try(t, err)
	try(t, a.Close())
	try(t, a.Close())
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	for err == nil {
		_, err = b.Write(make([]byte, 1000)) // nobody reads that any more: an error, soon
	}
	var reset *transport.ResetError
	if !errors.As(err, &reset) || reset.Peer != "ams" {
		t.Errorf("writing to a closed peer: %v", err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	try(t, b.Close())
}

// A stream that is closed as soon as all is written may be gone for its sender before the other side has seen it.
func TestCloseBeforeTheStreamIsAcceptedDelivers(t *testing.T) {
	ams, fra := twoNodes(t)
	l := fra.Listener(transport.Move)
	defer l.Close()
	for i := range 200 {
		a, err := ams.Dial(within(t, 10*time.Second), "fra", transport.Move)
		try(t, err)
		sent := fmt.Sprint("message ", i)
		_, err = a.Write([]byte(sent))
		try(t, err)
		try(t, a.Close())
		b, err := l.Accept()
		try(t, err)
		got, err := io.ReadAll(b)
		if err != nil || string(got) != sent {
			t.Fatalf("got %q, %v", got, err)
		}
		try(t, b.Close())
	}
}

func TestCloseInterruptsAWriteWithoutFakingTheEnd(t *testing.T) {
	ams, fra := twoNodes(t)
	a, b := pair(t, ams, fra, transport.Move)
	failed := make(chan error, 1)
	go func() {
		_, err := a.Write(make([]byte, 64<<20)) // more than the window: it blocks
		failed <- err
	}()
	_, err := io.ReadFull(b, make([]byte, 1<<20))
	try(t, err)
	try(t, a.Close())
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the interrupted Write: %v", err)
	}
	if _, err := io.Copy(io.Discard, b); err == nil {
		t.Error("the peer took a part for the whole")
	}
}

func TestResetCarriesItsCode(t *testing.T) {
	ams, fra := twoNodes(t)
	a, b := pair(t, ams, fra, transport.Move)
	a.Reset(transport.FirstUserCode + 5)
	var reset *transport.ResetError
	if _, err := b.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.Code != transport.FirstUserCode+5 || reset.Peer != "ams" {
		t.Errorf("Read: %v", err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("own Read: %v", err)
	}
}

func TestDialsFromBothSidesAtOnce(t *testing.T) {
	ams, fra := twoNodes(t)
	echo(t, ams, transport.Move)
	echo(t, fra, transport.Move)
	var wg sync.WaitGroup
	for range 20 {
		for from, to := range map[*transport.Transport]string{ams: "fra", fra: "ams"} {
			wg.Go(func() {
				conn, err := from.Dial(within(t, 10*time.Second), to, transport.Move)
				if err == nil {
					err = roundTrip(conn, "hello "+to)
					conn.Close()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if n := transport.Sessions(ams); n != 2 {
		t.Errorf("%d connections, want one from each side", n)
	}
}

func TestThousandStreamsAtOnce(t *testing.T) {
	ams, fra := twoNodes(t)
	echo(t, fra, transport.Move)
	ctx := within(t, 30*time.Second)
	var wg sync.WaitGroup
	var open atomic.Int32
	all := make(chan struct{})
	for i := range 1000 {
		wg.Go(func() {
			conn, err := ams.Dial(ctx, "fra", transport.Move)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if err := roundTrip(conn, fmt.Sprint("stream ", i)); err != nil {
				t.Error(err)
			}
			if open.Add(1) == 1000 {
				close(all)
			}
			select {
			case <-all:
			case <-ctx.Done():
				t.Error("not all streams were open at once")
			}
		})
	}
	wg.Wait()
}

func TestHTTP(t *testing.T) {
	ams, fra := twoNodes(t)
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hang" {
				<-r.Context().Done() // ends when the client goes away
				return
			}
			sum := sha256.New()
			_, _ = io.Copy(sum, r.Body)
			fmt.Fprintf(w, "%x", sum.Sum(nil))
		}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(fra.Listener(transport.API)) }()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			node, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return ams.Dial(ctx, node, transport.API)
		},
	}}

	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := make([]byte, i*20_000)
			_, _ = rand.Read(body)
			resp, err := client.Post("http://fra/sum", "", bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if want := fmt.Sprintf("%x", sha256.Sum256(body)); err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://fra/hang", nil)
	try(t, err)
	if _, err := client.Do(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hanging request: %v", err)
	}
	client.CloseIdleConnections()
	try(t, server.Shutdown(within(t, 5*time.Second))) // returns only when the hanging handler has ended
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func TestBulkIsPacedAndControlIsNot(t *testing.T) {
	const limit = 2 << 20
	m := newMesh(t, "ams", "fra")
	config := m.config("ams")
	config.BulkRate = limit
	ams, fra := m.start(config), m.start(m.config("fra"))
	for kind, size := range map[transport.Kind]int{transport.Bulk: limit / 2, transport.Move: 8 * limit} {
		a, b := pair(t, ams, fra, kind)
		start := time.Now()
		go func() {
			_, _ = a.Write(make([]byte, size))
			_ = a.CloseWrite()
		}()
		n, err := io.Copy(io.Discard, b)
		took := time.Since(start)
		paced := took > time.Duration(float64(size)/limit*0.8*float64(time.Second))
		if err != nil || n != int64(size) || paced != (kind == transport.Bulk) {
			t.Errorf("%s: %d bytes in %v, %v", kind, n, took, err)
		}
		try(t, a.Close())
		try(t, b.Close())
	}

	a, b := pair(t, ams, fra, transport.Bulk)
	defer b.Close()
	try(t, a.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	n, err := a.Write(make([]byte, limit))
	if timeout, ok := err.(net.Error); !ok || //nolint:errorlint // as net/http asks
		!timeout.Timeout() || n == 0 || n == limit {
		t.Errorf("deadline of a paced write: %d bytes, %v", n, err)
	}
	try(t, a.SetWriteDeadline(time.Time{}))
	closed := make(chan error, 1)
	go func() {
		_, err := a.Write(make([]byte, 10*limit))
		closed <- err
	}()
	try(t, a.Close())
	if err := <-closed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a paced write when closed: %v", err)
	}
}

func TestStatsAgreeWithTheLink(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
	link := newRelay(t, fra.Addr(), linkSpec{delay: 5 * time.Millisecond})
	m.route("fra", link.addr())
	a, b := pair(t, ams, fra, transport.Bulk)
	go func() {
		_, _ = a.Write(make([]byte, 4<<20))
		_ = a.CloseWrite()
	}()
	n, err := io.Copy(io.Discard, b)
	if err != nil || n != 4<<20 {
		t.Fatal(n, err)
	}
	sent, received := ams.Stats("fra"), fra.Stats("ams")
	if sent.PayloadSent != n || received.PayloadReceived != n {
		t.Errorf("payload: %d sent, %d received, want %d", sent.PayloadSent, received.PayloadReceived, n)
	}
	counted := link.to.bytes.Load()
	if off := float64(sent.WireSent-counted) / float64(counted); off < -0.005 || off > 0.005 {
		t.Errorf("%d bytes sent, the link counted %d", sent.WireSent, counted)
	}
	if rtt := ams.RTT("fra"); rtt < 10*time.Millisecond || rtt > 200*time.Millisecond {
		t.Errorf("RTT %v over a link of 10 ms", rtt)
	}
	try(t, ams.Close()) // what is gone still counts
	if after := ams.Stats("fra"); after.PayloadSent != n || after.WireSent < sent.WireSent {
		t.Errorf("after Close: %+v", after)
	}
}

func TestClosedTransport(t *testing.T) {
	ams, fra := twoNodes(t)
	a, b := pair(t, ams, fra, transport.Move)
	reading := make(chan error, 1)
	go func() {
		_, err := a.Read(make([]byte, 1))
		reading <- err
	}()
	l := ams.Listener(transport.API)
	try(t, ams.Close())
	try(t, ams.Close())
	if err := <-reading; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Read: %v", err)
	}
	if _, err := ams.Dial(context.Background(), "fra", transport.Move); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := ams.Listener(transport.Raft).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a listener had after Close: %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, transport.ErrLost) || !strings.Contains(err.Error(), "shut down") {
		t.Errorf("the peer's Read: %v", err)
	}
}
