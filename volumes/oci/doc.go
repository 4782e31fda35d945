// Package oci reads images as registries and archives hold them: the formats of the Open Container Initiative
// (https://github.com/opencontainers/image-spec, version 1.1) and of Docker before it.
//
// [Resolve] goes from the digest of an index or a manifest to the image for one platform; [Open] does so for the
// files of an OCI layout or of what "docker save" writes. Both check whatever they read by size and digest, bound
// it, and fetch no layer: an [Image] says how each is to be had.
//
// # Names
//
// [ParseName] reads a name as Docker's users mean it: "redis" is docker.io/library/redis:latest.
package oci
