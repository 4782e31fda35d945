//go:build root

package migrate

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/volatile"
)

// noted is what stands in a node's journal of a move before the node does something of it: a step, or nothing but that there
// is a journal.
var noted = map[string]string{
	"ams propose state.Reserve": "", "ams pack": "presync",
	"ams cutover": "freeze", "ams dump": "freeze", "ams divert": "freeze", "ams freeze": "freeze", "ams run dump": "freeze", "ams retire": "retire",
	"fra prepare": "", "fra apply upper": "", "fra create image": "", "fra start restore": "restore", "fra propose state.Activate": "restore",
	"fra resume": "resume", "fra propose state.Return": "return",
}

// last are calls after which a journal may be removed.
var last = map[string][]string{"ams": {"ams retire", "ams thaw"}, "fra": {"fra forget", "fra discard"}}

// Whenever the power fails in a move: what a node had begun to do stands in the journal that it finds afterwards.
func TestEachStepIsOnTheDiskBeforeItRuns(t *testing.T) {
	for name, fault := range map[string]string{"a move": "", "a move whose restore fails": "fra wait restore"} {
		t.Run(name, func(t *testing.T) {
			volatile.Losses{
				Random: 40, Seed: 7,
				Work: func(t *testing.T, dir string, promise func(string)) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t)
						for name, h := range w.hosts {
							h.dir = filepath.Join(dir, name)
							require.NoError(t, MakeJournals(h.dir))
						}
						w.start("ams")
						w.start("fra")
						defer w.drain()
						w.suffer(func(_ *world, point string, m moment) error {
							if m == before {
								promise(point)
							}
							if point == fault {
								return errFault
							}
							return nil
						})
						require.Equal(t, fault == "", w.move(context.Background(), func(Progress) {}) == nil)
						time.Sleep(time.Minute) // virtual
						promise("over")
					})
				},
				Check: func(t *testing.T, dir string, done []string) {
					journals := map[string]*Journal{}
					for host, role := range map[string]Role{"ams": AsSource, "fra": AsTarget} {
						all, err := openJournals(filepath.Join(dir, host), role)
						require.NoError(t, err)
						require.LessOrEqual(t, len(all), 1)
						for _, j := range all {
							journals[host] = j
							require.NoError(t, j.file.Close())
						}
					}
					over := strings.Join(done, "\n") + "\n"
					for _, call := range done {
						step, ok := noted[call]
						if !ok {
							continue
						}
						host, _, _ := strings.Cut(call, " ")
						j := journals[host]
						if j == nil {
							require.True(t, strings.Contains(over, last[host][0]+"\n") || strings.Contains(over, last[host][1]+"\n"), "%q was begun without a journal", call)
							continue
						}
						require.True(t, step == "" || j.Begun(step), "%q was begun, and the journal has %v", call, steps(j))
					}
				},
			}.Run(t)
		})
	}
}
