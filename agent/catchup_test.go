package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAnswersWaitUntilTheNodeHasCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatchUp()
		begun := time.Now()
		c.wait(t.Context())
		require.Equal(t, catchUpPatience, time.Since(begun), "without a majority it never does")

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begun = time.Now()
		c.wait(ctx)
		require.Equal(t, time.Second, time.Since(begun), "nobody waits for the answer any more")

		time.AfterFunc(time.Second, c.reached)
		begun = time.Now()
		c.wait(t.Context())
		require.Equal(t, time.Second, time.Since(begun))
		c.reached()
		c.wait(t.Context())
		require.Equal(t, time.Second, time.Since(begun), "from then on they don't wait")
	})
}
