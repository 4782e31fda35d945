//go:build root

package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/workload"
)

// nginx, several processes of it, is moved in the middle of a download: the client gets the file.
func TestDownloadSurvivesTheMoveOfItsServer(t *testing.T) {
	m := begin(t)
	require.NoError(t, m.load(t.Context(), "ams", "nginx", m.images["nginx"]))
	pod := m.run(t, "ams", workload.Nginx)
	var sum string
	eventually(t, "nginx has told its file's checksum", func() error {
		var log bytes.Buffer
		if err := m.clients["ams"].PodLogs(t.Context(), "nginx", api.LogOptions{}, api.LinesTo{W: &log}); err != nil {
			return err
		}
		fields := strings.Fields(log.String())
		if len(fields) < 2 || fields[1] != "/srv/file" {
			return errors.New("log: " + log.String())
		}
		sum = fields[0]
		return nil
	})

	client := http.Client{Transport: &http.Transport{DialContext: m.Dialer(lab.ClientSite)}}
	defer client.CloseIdleConnections()
	var answer *http.Response
	eventually(t, "nginx answers", func() (err error) {
		answer, err = client.Get("http://" + pod.Address + "/file") //nolint:bodyclose // below
		return err
	})
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, int64(32<<20), answer.ContentLength)
	hash := sha256.New()
	_, err := io.CopyN(hash, answer.Body, 4<<20)
	require.NoError(t, err)

	type end struct {
		bytes int64
		err   error
	}
	rest := make(chan end, 1)
	go func() {
		n, err := io.Copy(hash, answer.Body)
		rest <- end{n, err}
	}()
	_, err = m.migrate(t.Context(), t, "ams", "nginx", "fra")
	require.NoError(t, err)
	select {
	case <-rest:
		require.Fail(t, "the download was over before the move: it proves nothing")
	default:
	}
	e := <-rest
	require.NoError(t, e.err)
	require.Equal(t, int64(28<<20), e.bytes)
	require.Equal(t, sum, hex.EncodeToString(hash.Sum(nil)))

	require.Equal(t, "fra", m.awaitSettled(t, "nginx").Node)
	again, err := client.Get("http://" + pod.Address + "/file") // nginx accepts, and its log goes on
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, again.StatusCode)
	require.NoError(t, again.Body.Close())
}
