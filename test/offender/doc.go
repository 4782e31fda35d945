// Package offender has, for each kind of thing that keeps a pod from moving, a process that does it. Its tests let preflight
// look at each of them, and CRIU try to dump it.
package offender
