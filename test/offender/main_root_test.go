//go:build root

package offender

import (
	"testing"

	"github.com/drover-mesh/drover/test/isolation"
)

func TestMain(m *testing.M) { isolation.Main(m, "offender", play) }
