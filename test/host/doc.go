// Package host tests drover as its users run it: real agents on the sites of a lab, real CRIU and runc, a Redis and an
// nginx from the distribution, clients outside that notice everything. All of it needs root: make test.
package host
