// Package criu checkpoints and restores running pods with CRIU.
//
// A dump leaves the pod's processes alive: the cgroup freezer alone holds them, so that nothing has to run for the frozen
// copy to stay frozen, and a thaw brings it back with every connection intact. A restore stops when everything has been
// restored and nothing runs yet, and waits there for the verdict, however long that takes and whoever gives it.
//
// Dump and restore both go on without the process that started them. AwaitDump and OpenRestore find them again.
package criu
