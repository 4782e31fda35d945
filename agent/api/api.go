// Package api serves and calls the control API of an agent: over its unix socket for the command line, and over
// authenticated connections between agents, which answer for the pods they own whichever agent was asked.
package api

//go:generate sh -c "cd v1 && protoc -I . --go_out=. --go_opt=paths=source_relative --connect-go_out=. --connect-go_opt=paths=source_relative --connect-go_opt=simple *.proto"
