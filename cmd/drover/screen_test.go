package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

// columns is the width of a terminal that stays as it is.
func columns(n int) func() int { return func() int { return n } }

// shows are what is shown while something goes on, on a screen.
func shows() map[string]func(*testing.T, screen) {
	return map[string]func(*testing.T, screen){
		"migrate": func(t *testing.T, s screen) {
			p := &progress{s}
			_, err := aMove(t.Context(), "redis", "fra", p)
			require.NoError(t, err)
			p.Event(api.Event{Step: "restore", State: api.StepStarted, Note: "from\nanother\x1b[2J\rhost, and much more than a narrow terminal can show in a line"})
			p.clear()
		},
		"node-drain": func(t *testing.T, s screen) {
			_, err := aDrain(t.Context(), "ams", api.DrainOptions{}, &drainProgress{screen: s, steps: map[string]string{}})
			require.Error(t, err)
		},
		"image-pull": func(_ *testing.T, s screen) {
			l := &layers{screen: s}
			for _, p := range []api.LayerProgress{
				{Layer: "sha256:00112233445566778899", BytesTotal: 4 << 20},
				{Layer: "sha256:44556677889900112233", BytesDone: 1 << 20},
				{Layer: "sha256:88990011223344556677", BytesDone: 1 << 20, BytesTotal: 4 << 20},
				{Layer: "sha256:00112233445566778899", BytesDone: 4 << 20, Here: true},
				{Layer: "sha256:44556677889900112233", BytesDone: 2 << 20, Here: true},
				{Layer: "sha256:88990011223344556677", BytesDone: 4 << 20, Here: true},
			} {
				l.progress(p)
			}
			l.clear()
		},
	}
}

func TestProgressFitsTheTerminal(t *testing.T) {
	for name, show := range shows() {
		var plain strings.Builder
		show(t, screen{out: &plain})
		for _, width := range []int{200, 80, 40, 20, 2, 1, 0} {
			t.Run(fmt.Sprint(name, width), func(t *testing.T) {
				var b strings.Builder
				show(t, screen{out: &b, width: columns(width)})
				var left []string
				for line := range strings.Lines(b.String()) {
					parts := strings.Split(line, "\r\x1b[K")
					for _, over := range parts[:len(parts)-1] {
						assert.Less(t, utf8.RuneCountInString(over), max(width, 1), "%q", over)
						assert.NotContains(t, over, "\x1b")
					}
					left = append(left, parts[len(parts)-1])
				}
				assert.Equal(t, plain.String(), strings.Join(left, ""), "what stays is what a pipe gets")
				if width == 40 || width == 20 {
					golden(t, fmt.Sprintf("%s.terminal%d", name, width), strings.NewReplacer("\r", "<CR>", "\x1b", "<ESC>").Replace(b.String()))
				}
			})
		}
	}
}

func TestPipesGetPlainLines(t *testing.T) {
	for name, show := range shows() {
		r, w := io.Pipe()
		go func() {
			show(t, screen{out: w})
			w.Close()
		}()
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NotEmpty(t, got, name)
		for _, r := range string(got) {
			require.False(t, r != '\n' && unicode.IsControl(r), "%s: %q", name, got)
		}
	}
}

func TestTheWidthMayChange(t *testing.T) {
	var b strings.Builder
	width := 80
	s := screen{out: &b, width: func() int { return width }}
	s.overwrite("a line of some words")
	width = 10
	s.overwrite("a line of some words")
	s.clear()
	assert.Equal(t, "a line of some words\r\x1b[Ka line o…\r\x1b[K", b.String())
}

func TestTheTerminalTellsItsWidth(t *testing.T) {
	t.Setenv("TERM", "xterm")
	controller, terminal, err := pty.Open()
	require.NoError(t, err)
	defer controller.Close()
	defer terminal.Close()
	width := widthOf(terminal)
	require.NotNil(t, width)
	for _, columns := range []uint16{40, 20} {
		require.NoError(t, pty.Setsize(controller, &pty.Winsize{Rows: 24, Cols: columns}))
		assert.Equal(t, int(columns), width())
	}
	require.NoError(t, pty.Setsize(controller, &pty.Winsize{}))
	assert.Equal(t, usualWidth, width(), "a serial line doesn't tell")

	t.Setenv("TERM", "dumb")
	assert.Nil(t, widthOf(terminal))

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	assert.Nil(t, widthOf(w))
}
