package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// alpn names the protocol and its version; nodes that share no version don't connect.
const alpn = "drover/1"

// subject is what the URI in a node's certificate says: drover://MESH/node/NODE.
type subject struct{ mesh, node string }

func meshOf(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != "drover" || cert.URIs[0].Host == "" {
		return "", errors.New("not a certificate of a drover mesh: want one URI drover://MESH/")
	}
	return cert.URIs[0].Host, nil
}

func nameOf(cert *x509.Certificate) (subject, error) {
	mesh, err := meshOf(cert)
	if err != nil {
		return subject{}, err
	}
	node, ok := strings.CutPrefix(cert.URIs[0].Path, "/node/")
	if !ok || !validName.MatchString(node) {
		return subject{}, fmt.Errorf("not the certificate of a node: its URI is %q", cert.URIs[0])
	}
	return subject{mesh: mesh, node: node}, nil
}

// verify returns the name of the node that proved to own the certificate, or the error that a person needs.
func (id *Identity) verify(state tls.ConnectionState) (node string, err error) {
	if len(state.PeerCertificates) == 0 {
		return "", errors.New("the peer presented no certificate")
	}
	cert := state.PeerCertificates[0]
	name, err := nameOf(cert)
	if err != nil {
		return "", err
	}
	if name.mesh != id.Mesh {
		return "", fmt.Errorf("node %s presented a certificate of mesh %s (this is mesh %s)", name.node, name.mesh, id.Mesh)
	}
	now := time.Now()
	if now.After(cert.NotAfter) {
		return "", fmt.Errorf("the certificate of node %s expired at %s: renew it, or set the clock", name.node, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(cert.NotBefore) {
		return "", fmt.Errorf("the certificate of node %s is not valid before %s: set the clock", name.node, cert.NotBefore.UTC().Format(time.RFC3339))
	}
	_, err = cert.Verify(x509.VerifyOptions{
		Roots:       id.roots,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return "", fmt.Errorf("the certificate of node %s was not signed by the authority of mesh %s: %w", name.node, id.Mesh, err)
	}
	return name.node, nil
}

// tlsConfig is for both sides. want is the node that is dialled; the accepting side takes any of the mesh.
// crypto/tls's own verification is by host name, which nodes have none of, and hides why it failed.
func (id *Identity) tlsConfig(want string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		Certificates:           []tls.Certificate{id.certificate},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, //nolint:gosec // VerifyConnection does it, see above
		SessionTicketsDisabled: true, // a resumed session would outlive its certificate
		VerifyConnection: func(state tls.ConnectionState) error {
			got, err := id.verify(state)
			if err != nil {
				return err
			}
			if want != "" && got != want {
				return fmt.Errorf("node %s answered at the address of node %s", got, want)
			}
			return nil
		},
	}
}

// serverTLS is for the accepting side. It logs whom it refused and why, once a second at most: the stranger
// itself is only told that its certificate is bad (RFC 8446, section 6.2).
func (config Config) serverTLS() *tls.Config {
	var sometimes rate.Sometimes
	sometimes.Interval = time.Second
	server := config.Identity.tlsConfig("")
	server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		from := hello.Conn.RemoteAddr()
		accept := config.Identity.tlsConfig("")
		verify := accept.VerifyConnection
		accept.VerifyConnection = func(state tls.ConnectionState) error {
			err := verify(state)
			if err != nil {
				sometimes.Do(func() { config.Log.Warn("refused a connection", "from", from, "error", err) })
			}
			return err
		}
		return accept, nil
	}
	return server
}
