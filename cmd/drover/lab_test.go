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
		{labHosts{masks: []string{"fra=avx2,bmi2", "nyc=avx"}}, map[string]lab.Host{"fra": {CPUMask: []string{"avx2", "bmi2"}}, "nyc": {CPUMask: []string{"avx"}}}},
		{
			labHosts{clocks: []string{"fra=5s"}, masks: []string{"fra=avx"}, disks: []string{"fra=512mb", "ams=1GiB"}},
			map[string]lab.Host{"fra": {Clock: 5 * time.Second, CPUMask: []string{"avx"}, Disk: 512e6}, "ams": {Disk: 1 << 30}},
		},
	} {
		hosts, err := tc.flags.parse(3)
		require.NoError(t, err)
		require.Equal(t, tc.want, hosts)
	}
	for _, bad := range []labHosts{
		{clocks: []string{"ams"}}, {clocks: []string{"ams=100000"}}, {clocks: []string{"=5s"}}, {clocks: []string{"ams=5s", "spread"}},
		{masks: []string{"avx2"}}, {masks: []string{"fra="}}, {disks: []string{"fra=big"}}, {disks: []string{"fra=-1"}}, {disks: []string{"512mb"}},
	} {
		_, err := bad.parse(3)
		require.ErrorContains(t, err, ": want SITE=")
	}
}

func TestSizesAreParsed(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "512": 512, "3B": 3, "64KiB": 64 << 10, "8mib": 8 << 20, "2 GiB": 2 << 30, "500mb": 500e6, "1GB": 1e9, "7kb": 7000} {
		got, err := parseSize(text)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "9999999999", "5TiB", "5 bananas", "0x10"} {
		_, err := parseSize(text)
		require.ErrorContains(t, err, "want a size", text)
	}
}
