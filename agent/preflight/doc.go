// Package preflight looks at a running pod for what would keep it from moving, before anything is stopped.
//
// It only reads what the kernel tells about the pod's processes: /proc and the socket diagnostics of its network namespace.
// Nothing is injected, traced or frozen. What it refuses is what CRIU 4.2 refuses to dump or would lose without a word; each
// check names the file of CRIU's source that it follows. What the kernel tells nobody (a process's landlock rules, its SysV
// semaphore adjustments) can't be found here.
package preflight
