package criu

import (
	"fmt"
	"os"
	"path/filepath"
)

// emptyImage is the size in bytes of an image without entries: two magic numbers (criu/include/magic.h).
const emptyImage = 8

// dropIPC takes the System V objects out of a dump. Each container of a pod has all of the namespace's in its images, and only
// one may bring them back: CRIU fails for an object that is there already.
func dropIPC(images string) error {
	for _, kind := range []string{"shm", "msg", "sem"} { // criu/ipc_ns.c
		all, err := filepath.Glob(filepath.Join(images, "ipcns-"+kind+"-*.img"))
		if err != nil {
			return err
		}
		for _, path := range all {
			if err := os.Truncate(path, emptyImage); err != nil {
				return fmt.Errorf("leaving System V objects to another container: %w", err)
			}
		}
	}
	return nil
}
