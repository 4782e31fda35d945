package workload

import _ "embed"

// Redis is a pod of the distribution's redis-server. Its image is called redis.
//
//go:embed redis.yaml
var Redis []byte

// Nginx is a pod of the distribution's nginx, which serves /srv/file: 32 MiB of random data at 4 MiB a second, whose
// checksum is in the pod's log. Its image is called nginx and holds NginxPackages.
//
//go:embed nginx.yaml
var Nginx []byte

// NginxPackages are what Nginx needs: a package's dependencies don't include those that every system has.
func NginxPackages() []string { return []string{"nginx", "dash", "coreutils"} }
