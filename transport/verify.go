package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// alpn names the protocol and its version; nodes that share no version don't connect.
const alpn = "drover/1"

// subject is what the URI in a node's certificate says: drover://MESH/node/NODE?generation=N, without the
// generation if that is 0.
type subject struct {
	mesh, node string
	generation uint64
}

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
	s := subject{mesh: mesh, node: node}
	if number, ok := strings.CutPrefix(cert.URIs[0].RawQuery, "generation="); ok {
		if s.generation, err = strconv.ParseUint(number, 10, 64); err != nil {
			return subject{}, fmt.Errorf("not the certificate of a node: its URI is %q", cert.URIs[0])
		}
	}
	if s.uri().String() != cert.URIs[0].String() {
		return subject{}, fmt.Errorf("not the certificate of a node: its URI is %q, not %q", cert.URIs[0], s.uri())
	}
	return s, nil
}

// verify returns who proved to own the certificate, or the error that a person needs.
func (id *Identity) verify(state tls.ConnectionState) (subject, error) {
	if len(state.PeerCertificates) == 0 {
		return subject{}, errors.New("the peer presented no certificate")
	}
	return id.check(state.PeerCertificates[0])
}

// check returns whose certificate it is, if it is one of this mesh and valid now.
func (id *Identity) check(cert *x509.Certificate) (subject, error) {
	name, err := nameOf(cert)
	if err != nil {
		return subject{}, err
	}
	if name.mesh != id.Mesh {
		return subject{}, fmt.Errorf("node %s presented a certificate of mesh %s (this is mesh %s)", name.node, name.mesh, id.Mesh)
	}
	if err := checkTime(name.node, cert, time.Now()); err != nil {
		return subject{}, err
	}
	if err := checkSignature(cert, id.roots, time.Now()); err != nil {
		return subject{}, fmt.Errorf("the certificate of node %s was not signed by the authority of mesh %s: %w", name.node, id.Mesh, err)
	}
	return name, nil
}

func checkTime(node string, cert *x509.Certificate, now time.Time) error {
	if now.After(cert.NotAfter) {
		return fmt.Errorf("the certificate of node %s expired at %s: renew it, or set the clock", node, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(cert.NotBefore) {
		return fmt.Errorf("the certificate of node %s is not valid before %s: set the clock", node, cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

func checkSignature(cert *x509.Certificate, roots *x509.CertPool, now time.Time) error {
	_, err := cert.Verify(x509.VerifyOptions{
		Roots:       roots,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return err
}

// tlsConfig is for both sides. want is the node that is dialled; the accepting side takes any of the mesh.
// revoked says why a certificate is void, or "". crypto/tls's own verification is by host name, which nodes
// have none of, and hides why it failed.
func (id *Identity) tlsConfig(want string, revoked func(subject) string) *tls.Config {
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
			if want != "" && got.node != want {
				return fmt.Errorf("node %s answered at the address of node %s", got.node, want)
			}
			if reason := revoked(got); reason != "" {
				return fmt.Errorf("the certificate of node %s is revoked: %s", got.node, reason)
			}
			return nil
		},
	}
}

// serverTLS is for the accepting side. It logs whom it refused and why, once a second at most: the stranger
// itself is only told that its certificate is bad (RFC 8446, section 6.2).
func (t *Transport) serverTLS() *tls.Config {
	var sometimes rate.Sometimes
	sometimes.Interval = time.Second
	server := t.identity.Load().tlsConfig("", t.revoked)
	server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		from := hello.Conn.RemoteAddr()
		if slices.Contains(hello.SupportedProtos, joinALPN) {
			return t.identity.Load().strangerTLS(), nil
		}
		accept := t.identity.Load().tlsConfig("", t.revoked)
		verify := accept.VerifyConnection
		accept.VerifyConnection = func(state tls.ConnectionState) error {
			err := verify(state)
			if err != nil {
				sometimes.Do(func() { t.config.Log.Warn("refused a connection", "from", from, "error", err) })
			}
			return err
		}
		return accept, nil
	}
	return server
}
