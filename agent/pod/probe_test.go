package pod

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProbesWithKubernetesDefaults(t *testing.T) {
	m := parse(t, full)
	require.Equal(t, Probes{
		Startup: &Probe{Exec: []string{"redis-cli", "ping"}, Period: 10 * time.Second, Timeout: time.Second, Success: 1, Failure: 30, Grace: -1},
		Liveness: &Probe{
			TCP: &TCPProbe{Port: 6379}, Delay: 5 * time.Second, Period: 3 * time.Second, Timeout: 2 * time.Second, Success: 1, Failure: 3, Grace: 4 * time.Second,
		},
		Readiness: &Probe{
			HTTP:   &HTTPProbe{Scheme: "https", Port: 8080, Path: "/ok?x=1", Headers: []Header{{"Host", "a"}}},
			Period: 10 * time.Second, Timeout: time.Second, Success: 2, Failure: 3, Grace: -1,
		},
	}, m.Probes("redis"))
	require.Equal(t, Probes{}, m.Probes("side"))
	require.Equal(t, Probes{}, m.Probes("none"))

	m = parse(t, with("", "    livenessProbe: {httpGet: {port: 80, path: ok}}\n    readinessProbe: {httpGet: {port: 80}}\n"))
	require.Equal(t, &HTTPProbe{Scheme: "http", Port: 80, Path: "/ok"}, m.Probes("redis").Liveness.HTTP)
	require.Equal(t, &HTTPProbe{Scheme: "http", Port: 80, Path: "/"}, m.Probes("redis").Readiness.HTTP)
}
