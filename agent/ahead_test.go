package agent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

func TestWhyTheSchedulerWouldNotIsAReasonToo(t *testing.T) {
	unfit := &api.Error{Cure: "see drover pod explain redis", Violations: []api.Violation{{Field: "nyc", Why: "it is full"}, {Field: "fra", Why: "it is cordoned"}}}
	ring := api.Refusal{Node: "ams", Reason: "it uses io_uring"}
	cordoned := api.Refusal{Node: "fra", Reason: "it is cordoned", Cure: "see drover pod explain redis"}
	require.Equal(t, []api.Refusal{ring, cordoned}, withUnfit(api.Preflight{To: "fra", Refusals: []api.Refusal{ring}}, unfit).Refusals)
	none := &api.Error{Why: "it is there already"}
	require.Equal(t, []api.Refusal{{Node: "fra", Reason: "it is there already"}}, withUnfit(api.Preflight{To: "fra"}, none).Refusals)
	said := []api.Refusal{{Node: "fra", Reason: "its CPU lacks avx2"}}
	require.Equal(t, said, withUnfit(api.Preflight{To: "fra", Refusals: said}, unfit).Refusals, "the node knows better")
}
