package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/lab"
)

func TestLabHostsAreParsed(t *testing.T) {
	for _, tc := range []struct {
		flags labHosts
		want  map[string]lab.Host
	}{
		{labHosts{}, map[string]lab.Host{}},
		{labHosts{clocks: []string{"ams=+100000s", "fra=-16m40s"}}, map[string]lab.Host{"ams": {Clock: 100_000 * time.Second}, "fra": {Clock: -1000 * time.Second}}},
		{labHosts{clocks: []string{"spread"}}, map[string]lab.Host{"ams": {}, "fra": {Clock: 100_000 * time.Second}, "nyc": {Clock: 200_000 * time.Second}}},
	} {
		hosts, err := tc.flags.parse(3)
		require.NoError(t, err)
		require.Equal(t, tc.want, hosts)
	}
	for _, bad := range [][]string{{"ams"}, {"ams=100000"}, {"=5s", "ams"}, {"ams=5s", "spread"}} {
		_, err := (&labHosts{clocks: bad}).parse(3)
		require.ErrorContains(t, err, "want SITE=OFFSET")
	}
}
