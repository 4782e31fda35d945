package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/pod"
)

func TestProbesAskOverTheNetwork(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case r.URL.Path == "/elsewhere":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case r.URL.Path != "/ok" || r.Host != "shop.example" && r.Header.Get("X-Probe") != "":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	host, text, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	get := func(path string, headers ...pod.Header) error {
		return askHTTP(t.Context(), &pod.HTTPProbe{Scheme: "http", Port: port, Path: path, Headers: headers}, host)
	}
	require.NoError(t, get("/ok"))
	require.NoError(t, get("/ok", pod.Header{Name: "host", Value: "shop.example"}, pod.Header{Name: "X-Probe", Value: "1"}))
	require.Error(t, get("/ok", pod.Header{Name: "X-Probe", Value: "1"}))
	require.NoError(t, get("/moved"))
	require.NoError(t, get("/elsewhere"), "a redirection to another host counts as an answer")
	require.ErrorContains(t, get("/no"), "503")
	require.NoError(t, askTCP(t.Context(), &pod.TCPProbe{Port: port}, host))
	server.Close()
	require.Error(t, get("/ok"))
	require.Error(t, askTCP(t.Context(), &pod.TCPProbe{Port: port}, host))
}

// A probe passes and fails after as many answers in a row as its manifest says.
func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pod.Probe{Delay: 5 * time.Second, Period: 2 * time.Second, Timeout: time.Second, Success: 2, Failure: 3}
		answers := "++--+---+-"
		var told []string
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		a := prober{put: func(context.Context, *pod.Probe) error {
			require.Equal(t, 5*time.Second+time.Duration(10-len(answers))*2*time.Second, time.Since(began))
			good := answers[0] == '+'
			if answers = answers[1:]; answers == "" {
				defer cancel()
			}
			if good {
				return nil
			}
			return errors.New("bad")
		}}
		a.watch(ctx, p, func(good bool, _ error) bool {
			told = append(told, map[bool]string{true: "passes", false: "fails"}[good]+" after "+strconv.Itoa(10-len(answers)))
			return true
		})
		require.Equal(t, []string{"passes after 2", "fails after 8"}, told)
	})
}
