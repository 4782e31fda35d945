package criu

import "path/filepath"

// Resumed says whether the pod of the restore in that work directory runs, or has run. Without such a restore it has not.
func Resumed(work string) bool { return exists(filepath.Join(work, gateResumed)) }
