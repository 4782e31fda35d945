// Package bench measures drover beside what one would pick instead, in turns within one run, so that the ratio
// means something on any machine. `make bench` runs it.
package bench
