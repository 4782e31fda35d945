package drill

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func points(t *testing.T) *Points {
	t.Helper()
	return &Points{dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
}

// reach comes to a point in the background, and closes what it returns when it has passed.
func reach(ctx context.Context, p *Points, point string) <-chan struct{} {
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		p.Reach(ctx, point)
	}()
	return passed
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	require.Eventually(t, func() bool { _, err := os.Lstat(path); return err == nil }, patience, look)
}

const patience = 1000 * look

func TestWithoutADirectoryThereAreNoPoints(t *testing.T) {
	p, err := Open("", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Nil(t, p)
	p.Reach(t.Context(), "source.freeze")
}

func TestAPointThatIsNotArmedIsPassed(t *testing.T) {
	p := points(t)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "source.final"), nil, 0o600))
	p.Reach(t.Context(), "source.freeze")
	left, err := os.ReadDir(p.dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing says that one was hit")
}

func TestAnArmedPointHoldsUntilItIsDisarmed(t *testing.T) {
	p := points(t)
	point := filepath.Join(p.dir, "source.freeze")
	require.NoError(t, os.WriteFile(point, nil, 0o600))
	passed := reach(t.Context(), p, "source.freeze")
	awaitFile(t, point+Suffix)
	select {
	case <-passed:
		require.Fail(t, "it went on")
	default:
	}
	require.NoError(t, os.Remove(point))
	<-passed
}

func TestAnEndOfTheContextLetsGo(t *testing.T) {
	p := points(t)
	point := filepath.Join(p.dir, "target.gate")
	require.NoError(t, os.WriteFile(point, nil, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	passed := reach(ctx, p, "target.gate")
	awaitFile(t, point+Suffix)
	cancel()
	<-passed
	require.FileExists(t, point)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(dir, link))
	open := filepath.Join(dir, "open")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o777)) // whatever the umask is
	for path, why := range map[string]string{
		"drills":                     "not an absolute path",
		filepath.Join(dir, "absent"): "no such file",
		file:                         "is none",
		link:                         "is none",
	} {
		_, err := Open(path, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, why)
	}
	_, err := Open(open, slog.New(slog.DiscardHandler))
	require.Error(t, err, "whoever runs this test: it is not root's, or open to all")
}

func TestTellsItsVitals(t *testing.T) {
	p := points(t)
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan struct{})
	go func() {
		defer close(told)
		p.Tell(ctx)
	}()
	path := filepath.Join(p.dir, VitalsFile)
	awaitFile(t, path)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	cancel()
	<-told
	var v Vitals
	require.NoError(t, json.Unmarshal(text, &v))
	require.Equal(t, os.Getpid(), v.PID)
	require.Greater(t, v.Goroutines, 1)
	require.Positive(t, v.Heap)
	(*Points)(nil).Tell(t.Context()) // returns
}
