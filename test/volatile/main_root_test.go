//go:build root

package volatile

import (
	"testing"

	"github.com/drover-mesh/drover/test/isolation"
)

func TestMain(m *testing.M) { isolation.Main(m, "volatile", func(string) int { return 1 }) }
