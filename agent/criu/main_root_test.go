//go:build root

package criu

import (
	"testing"

	"github.com/drover-mesh/drover/test/isolation"
)

func TestMain(m *testing.M) {
	isolation.Main(m, "criu", func(role string) int {
		if role == "pod" {
			return servePod()
		}
		return doomedAgent()
	})
}
