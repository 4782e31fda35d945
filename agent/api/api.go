// Package api serves and calls the control API of an agent: over its unix socket for the command line, and over
// authenticated connections between agents, which answer for the pods they own whichever agent was asked.
package api

//go:generate protoc -I v1 --go_out=v1 --go_opt=paths=source_relative --connect-go_out=v1 --connect-go_opt=paths=source_relative --connect-go_opt=simple drover.proto
