// Package pod runs pods on an OCI runtime: it turns a Kubernetes manifest into a container, freezes, thaws and kills it,
// keeps its output and exit code, and finds it again after the agent was restarted.
//
// The container runs under runc and conmon. conmon holds the container's standard streams and its exit code, in a session
// of its own, so that a pod doesn't notice when the agent stops or is killed. What has to outlive the agent lies in
// files, a directory a pod; the package keeps nothing in memory.
//
// It neither dumps nor restores. Checkpoint and Restore give as plain values what that needs.
package pod
