//go:build root

package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/drover-mesh/drover/test/isolation"
)

func TestMain(m *testing.M) {
	isolation.Main(m, "pod", func(string) int { return doomedAgent() })
}

const specVariable = "DROVER_POD_TEST_SPEC"

// doomedAgent starts a pod and waits to be killed.
func doomedAgent() int {
	var s Spec
	err := json.Unmarshal([]byte(os.Getenv(specVariable)), &s)
	if err == nil {
		var r *Runtime
		if r, err = Open(testConfig()); err == nil {
			err = errors.Join(r.Create(context.Background(), s), r.Start(context.Background(), s.UID, main))
		}
	}
	fmt.Println("started", err)
	select {}
}
