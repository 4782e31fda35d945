// Package programs is a table of servers that other people wrote, out of the distribution's packages: how each is run as a
// pod, and a client of it, also by others, that notices if anything happens to its connection or to the server's state.
package programs

import (
	"context"
	"embed"
	"fmt"
	"net"
)

// Dialer connects from where the clients stand.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Client holds one connection to a server.
type Client interface {
	// Beat does something that changes or reads the server's state, and checks the answer. It never connects again.
	Beat(ctx context.Context) error
	Close() error
}

// Program is a server.
type Program struct {
	Name     string
	Packages []string // of its image; the first is the one that counts
	Port     string
	// Dial connects to the server and prepares what Beat needs; it is called until the server is up.
	Dial func(ctx context.Context, dial Dialer, address string) (Client, error)
	// Refused is part of the reason for which preflight must refuse to move it, "" if it must move.
	Refused string
}

// All is the table.
func All() []Program {
	shell := []string{"dash", "coreutils"}
	with := func(packages ...string) []string { return append(packages, shell...) }
	return []Program{
		{Name: "redis", Packages: with("redis-server"), Port: "6379", Dial: dialRedis},
		{Name: "postgres", Packages: with("postgresql-15"), Port: "5432", Dial: dialPostgres},
		{Name: "mariadb", Packages: with("mariadb-server", "sed", "grep", "hostname"), Port: "3306", Dial: dialMariaDB},
		{Name: "memcached", Packages: with("memcached"), Port: "11211", Dial: dialMemcached},
		{Name: "nginx", Packages: with("nginx"), Port: "80", Dial: dialHTTP},
		{Name: "haproxy", Packages: with("haproxy"), Port: "80", Dial: dialHTTP},
		{Name: "mosquitto", Packages: with("mosquitto"), Port: "1883", Dial: dialMQTT},
		{Name: "etcd", Packages: with("etcd-server"), Port: "2379", Dial: dialEtcd},
		{Name: "openssh", Packages: with("openssh-client", "openssh-server"), Port: "22", Dial: dialSSH},
		{Name: "dnsmasq", Packages: with("dnsmasq-base"), Port: "53", Dial: dialDNS, Refused: "listens to changes of routes"},
	}
}

//go:embed manifests/*.yaml
var manifests embed.FS

// Manifest is the pod that runs the program, as YAML; its image has the program's name.
func (p Program) Manifest() ([]byte, error) {
	data, err := manifests.ReadFile("manifests/" + p.Name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", p.Name, err)
	}
	return data, nil
}

// once lets a client library connect one time only.
func once(dial Dialer) Dialer {
	dialled := false
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if dialled {
			return nil, fmt.Errorf("the one connection to %s has broken", address)
		}
		conn, err := dial(ctx, network, address)
		dialled = err == nil
		return conn, err
	}
}
