//go:build root

package lab

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestUpAndDownTwice(t *testing.T) {
	noLeaks(t, "t-twice")
	for range 2 {
		l := up(t, testOptions("t-twice"))
		again := up(t, testOptions("t-twice"))
		require.Equal(t, l.Status(t.Context()).Sites, again.Status(t.Context()).Sites)
		require.NoError(t, l.Down(t.Context()))
		require.NoError(t, l.Down(t.Context()))
		require.NoError(t, Down(t.Context(), "t-twice"))
		_, err := Open("t-twice")
		require.ErrorIs(t, err, ErrNotUp)
	}
}

func TestSiteIsAHostOfItsOwn(t *testing.T) {
	noLeaks(t, "t-host")
	l := up(t, testOptions("t-host"))
	require.Equal(t, "ams", inSite(t, l, "ams", "hostname"))
	require.Equal(t, "fra", inSite(t, l, "fra", "cat", "/etc/hostname"))
	require.Equal(t, "site-init", strings.Split(inSite(t, l, "ams", "cat", "/proc/1/cmdline"), "\x00")[2])
	require.Equal(t, "lo wan0", inSite(t, l, "ams", "sh", "-c", "ls /sys/class/net | grep -v ifb | xargs echo"))
	require.Contains(t, inSite(t, l, "ams", "cat", "/etc/drover/agent.yaml"), "node: ams\n")
	require.Empty(t, inSite(t, l, "ams", "ls", "-A", stateRoot), "the lab's directory is hidden")

	inSite(t, l, "ams", "sh", "-ec", "echo 1 > /run/x; echo 1 > /etc/t-host; echo 1 > /var/lib/t-host; echo 1 > /var/lib/drover/x; mkdir /run/netns; touch /run/netns/a; mount --bind /proc/self/ns/net /run/netns/a")
	require.Equal(t, "none", inSite(t, l, "fra", "sh", "-c", "cat /run/x /etc/t-host /var/lib/t-host /var/lib/drover/x 2>/dev/null || echo none"))
	for _, path := range []string{"/run/x", "/etc/t-host", "/var/lib/t-host", "/var/lib/drover/x"} {
		require.NoFileExists(t, path)
	}
	path, err := l.Path("ams", "/run/x")
	require.NoError(t, err)
	require.FileExists(t, path)

	requireReaches(t, l, "client", "fra")
	require.Contains(t, inSite(t, l, "client", "ip", "route"), "10.88.0.0/16 dev wan0")
	cgroup := inSite(t, l, "ams", "cat", "/proc/1/cgroup", "/proc/self/cgroup")
	for line := range strings.SplitSeq(cgroup, "\n") {
		require.True(t, strings.HasSuffix(line, ":/init"), "the site's cgroup is its root: %s", line)
	}
	inSite(t, l, "ams", "sh", "-ec", "for h in $(awk '$9 ~ /^cgroup/ || $8 ~ /^cgroup/ {print $5}' /proc/self/mountinfo); do mkdir $h/t-own; done")
	groups, err := openHierarchies()
	require.NoError(t, err)
	for _, point := range groups {
		require.DirExists(t, filepath.Join(point, l.cgroup("ams"), "t-own"))
	}
}

func TestExecKeepsStdioAndExitCode(t *testing.T) {
	noLeaks(t, "t-exec")
	o := testOptions("t-exec")
	o.Hosts = map[string]Host{"ams": {Clock: time.Hour}} // another way into the site
	l := up(t, o)
	cmd := l.Exec(t.Context(), "ams", "sh", "-c", "read x; echo got $x; pwd; exit 7")
	cmd.Stdin = strings.NewReader("it\n")
	cmd.Dir = "/usr"
	out, err := cmd.Output()
	require.Equal(t, 7, exitCode(err))
	require.Equal(t, "got it\n/usr\n", string(out))

	require.Equal(t, 137, exitCode(l.Exec(t.Context(), "ams", "sh", "-c", "kill -9 $$").Run()))
	out, err = l.Exec(t.Context(), "ams", "no-such-program").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `"no-such-program"`)
	out, err = l.Exec(t.Context(), "oslo", "true").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `no site "oslo": want one of [ams fra client]`)

	extra, _, err := os.Pipe()
	require.NoError(t, err)
	defer extra.Close()
	cmd = l.Exec(t.Context(), "ams", "sh", "-c", "ls -l /proc/self/fd")
	cmd.ExtraFiles = []*os.File{extra}
	out, err = cmd.Output()
	require.NoError(t, err)
	require.NotContains(t, string(out), " 3 -> pipe", "only stdio is passed on")

	cmd = l.Exec(t.Context(), "ams", "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = stdout.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(unix.SIGTERM))
	require.Equal(t, 5, exitCode(cmd.Wait()), "SIGTERM reaches the command")
}

func TestDialerAndWAN(t *testing.T) {
	noLeaks(t, "t-dial")
	l := up(t, testOptions("t-dial"))
	var listener net.Listener
	require.NoError(t, l.InNetwork("fra", func() (err error) {
		listener, err = net.Listen("tcp", "10.77.2.1:7")
		return err
	}))
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte(conn.RemoteAddr().String())) //nolint:errcheck // a test
			conn.Close()
		}
	}()
	dial := l.Dialer("client")
	conn, err := dial(t.Context(), "tcp", "10.77.2.1:7")
	require.NoError(t, err)
	b := make([]byte, 100)
	n, err := conn.Read(b)
	require.NoError(t, err)
	require.Contains(t, string(b[:n]), "10.77.250.1:")
	conn.Close()

	require.NoError(t, l.WAN().Cut(t.Context(), "client", "fra"))
	cut := l.Status(t.Context())
	require.Len(t, cut.Links, 6)
	for _, link := range cut.Links {
		require.Equal(t, link.From != "ams" && link.To != "ams", link.Cut, "%v", link)
	}
	require.NoError(t, l.WAN().Heal(t.Context(), "client", "fra"))
	conn, err = dial(t.Context(), "tcp", "10.77.2.1:7")
	require.NoError(t, err)
	conn.Close()
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 10*time.Second, 10*time.Millisecond, what)
}

func TestAgentIsSupervised(t *testing.T) {
	noLeaks(t, "t-agent")
	l := up(t, testOptions("t-agent"))
	pid, err := l.AgentPID(t.Context(), "ams")
	require.NoError(t, err)
	inner := innermostPID(pid)
	path, err := l.Path("ams", "/run/pid")
	require.NoError(t, err)
	eventually(t, "the agent tells its pid", func() bool {
		told, _ := os.ReadFile(path)
		return strings.TrimSpace(string(told)) == strconv.Itoa(inner)
	})

	require.NoError(t, l.SignalAgent(t.Context(), "ams", unix.SIGKILL))
	eventually(t, "it is restarted", func() bool {
		status, err := l.Agent(t.Context(), "ams")
		return err == nil && status.Running && status.Restarts == 1 && status.LastExit == "killed by SIGKILL"
	})
	require.NoError(t, l.KeepAgent(t.Context(), "ams", false))
	require.NoError(t, l.SignalAgent(t.Context(), "ams", unix.SIGKILL))
	eventually(t, "it ends", func() bool {
		status, err := l.Agent(t.Context(), "ams")
		return err == nil && !status.Running
	})
	_, err = l.AgentPID(t.Context(), "ams")
	require.ErrorContains(t, err, "doesn't run (killed by SIGKILL)")
	require.NoError(t, l.KeepAgent(t.Context(), "ams", true))
	eventually(t, "it runs again", func() bool {
		status, err := l.Agent(t.Context(), "ams")
		return err == nil && status.Running
	})
	eventually(t, "all three told it in the log", func() bool {
		log, _ := os.ReadFile(l.AgentLog("ams"))
		return strings.Count(string(log), "agent of ams") == 3
	})
}

// requireReaches connects to a port where nobody listens: the refusal has come back over the WAN.
func requireReaches(t *testing.T, l *Lab, from, to string) {
	t.Helper()
	site, err := l.Site(to)
	require.NoError(t, err)
	for _, address := range []netip.Addr{site.Address, site.Address6} {
		_, err = l.Dialer(from)(t.Context(), "tcp", netip.AddrPortFrom(address, 9).String())
		require.ErrorIs(t, err, unix.ECONNREFUSED)
	}
}

func TestTwoLabsAtOnce(t *testing.T) {
	noLeaks(t, "t-one", "t-two")
	one, two := up(t, testOptions("t-one")), up(t, testOptions("t-two"))
	require.NoError(t, one.WAN().Cut(t.Context(), "ams", "fra"))
	requireReaches(t, two, "ams", "fra")
	require.NoError(t, one.Down(t.Context()))
	requireReaches(t, two, "ams", "fra")
	require.Equal(t, "up", two.Status(t.Context()).State)
}

func TestFailedUpLeavesNothing(t *testing.T) {
	noLeaks(t, "t-fail")
	o := testOptions("t-fail")
	o.AgentCommand = []string{"/bin/sh", "-c", "echo it is broken >&2; exit 3"}
	o.Timeout = 3 * time.Second
	o.Ready = agentReady
	_, err := Up(t.Context(), o, func(string) {})
	require.ErrorContains(t, err, "the agent of site ams")
	require.ErrorContains(t, err, "it is broken")
	_, err = Open("t-fail")
	require.ErrorIs(t, err, ErrNotUp)

	for _, bad := range []Options{{Name: "Bad/../name"}, {Name: "-x"}, {Sites: 17}, {Sites: -1}} {
		_, err := Up(t.Context(), bad, func(string) {})
		require.ErrorContains(t, err, "want")
	}
}
