// Package volumes keeps the files of pods: read-only layers addressed by their content, the overlay that each
// pod's root file system is, and the snapshots by which the writable part of such an overlay follows its pod to
// another node.
//
// # Layers
//
// A [Store] owns one directory:
//
//	blobs/sha256/HEX.tar.zst   a layer as it goes over the wire; HEX is the digest of the uncompressed tar
//	layers/sha256/HEX/         the same layer, unpacked once and never written again
//	images/HEX.json            an image: its name, of which HEX is the digest, its layers and its configuration
//	pods/UID/                  upper, work and rootfs of a pod's overlay, and the layers that it stands on
//	tmp/                       what is being made; what a crash left there goes when the store is opened again
//
// A layer is made in tmp and renamed into place once it is whole and on disk, so that a crash, a full disk or a
// second writer of the same layer leaves either the layer or nothing.
//
// # Images
//
// An [Image] is a name for layers, with what is to be known of the programs in them. [Store.Load] takes in files: OCI
// layouts, what "docker save" writes, and plain tars of root file systems; [Store.Add] what package oci resolves, from
// a registry say; [Store.Copy] what another store has. Images share layers. A layer that no image and no overlay needs
// any more goes a day later, at the next change; at once if its image is removed.
//
// # Upper snapshots
//
// [Scan], [Pack] and [Apply] make the writable directory of an overlay at one node equal to that at another, in
// rounds: each round ships only what changed since the one before, and a round with nothing running makes them equal.
// The format is described in stream.go. A move goes so: the target calls [Store.Prepare]; the source calls [SyncFS]
// and Pack, the target Apply, as often as it is worth it; then once more with the pod frozen; the target calls
// SyncFS and [Store.Mount].
//
// # What a tar may do here
//
// Whatever comes in, from a user or from a peer, is placed by system calls that resolve each path beneath the
// layer's root and through no symbolic link (openat2(2)); an entry that would leave it is refused by name, as are
// the extended attributes by which overlayfs itself redirects paths. Device nodes are made as they are described,
// as every container engine does: a Debian root file system brings its /dev, and which devices a container may
// open is decided by its device cgroup, not by the nodes it has. A character device 0:0 is refused: it is overlayfs's
// whiteout. OCI's own whiteouts are translated into those, in layers, and refused in the tar of a root file system.
// Set-user-ID bits and file capabilities stay. [Limits] bound how much comes.
package volumes
