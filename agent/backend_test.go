package agent

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
)

func TestANodeThatHasHeardNothingDoesNotSayThatThereIsNothing(t *testing.T) {
	m := state.New()
	_, err := heard(m.View(), "looking for pod redis")
	require.Equal(t, api.Unavailable, api.AsError(err).Code)
	m.Apply(state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")})
	_, err = heard(m.View(), "looking for pod redis")
	require.NoError(t, err)
}
