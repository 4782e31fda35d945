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

// Shop is a pod of three containers, shop: nginx, an application in JavaScript (images nginx and nodejs) and a Redis. It
// answers each request on port 80 with three numbers: of this path's requests as the Redis and as the application's memory
// have it, and of all as a shared volume has it.
//
//go:embed shop.yaml
var Shop []byte
