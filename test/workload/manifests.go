package workload

import _ "embed"

// Redis is a pod of Debian's redis-server. Its image is called redis.
//
//go:embed redis.yaml
var Redis []byte

// Nginx is a pod of Debian's nginx that serves /srv. Its image is called nginx.
//
//go:embed nginx.yaml
var Nginx []byte
