// Package hosts tests drover's package on Debian hosts as its users have them: with systemd and control groups of version 2, a
// stock kernel, Debian's CRIU, and clocks and uptimes of their own. The hosts are emulated, so that nothing of the machine is
// needed for it: make test-hosts. Their timings say nothing about speed.
package hosts
