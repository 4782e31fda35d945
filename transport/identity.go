package transport

import (
	"crypto"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Identity is what a node proves itself with. It is immutable and may be shared.
type Identity struct {
	Mesh       string     // the mesh's id
	Node       string     // the node's name
	Generation uint64     // of its enrolment, see state.Enrolment; 0 if it has none
	Expires    time.Time  // when the certificate ceases to be valid
	GossipKey  []byte     // 32 bytes, the same on every node of the mesh; not to be changed
	Authority  *Authority // nil if this node can't admit others

	certificate tls.Certificate
	ca          *x509.Certificate
	roots       *x509.CertPool
	// resetKey makes the stateless reset tokens (RFC 9000, section 10.3). It follows from the node's key,
	// so that a restarted agent can tell the peers of its predecessor that their connections are gone.
	resetKey [32]byte
}

// LoadIdentity reads the identity directory of a node, as made by [Found], [InitMesh], [AddNode] or an
// [Admission]. Keys that others than their owner may read are refused. A certificate that has expired is not: its peers
// will say so.
func LoadIdentity(dir string) (*Identity, error) {
	id, err := loadIdentity(dir)
	if err != nil {
		return nil, fmt.Errorf("loading the identity of this node: %w", err)
	}
	return id, nil
}

func loadIdentity(dir string) (*Identity, error) {
	certPath := filepath.Join(dir, nodeCertFile)
	ca, err := readCertificate(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, err
	}
	mesh, err := meshOf(ca)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, caCertFile), err)
	}
	cert, err := readCertificate(certPath)
	if err != nil {
		return nil, err
	}
	name, err := nameOf(cert)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certPath, err)
	}
	if name.mesh != mesh {
		return nil, fmt.Errorf("%s is of mesh %s, but %s beside it is of mesh %s: copy both from one mesh directory", certPath, name.mesh, caCertFile, mesh)
	}
	if err := cert.CheckSignatureFrom(ca); err != nil {
		return nil, fmt.Errorf("%s was not signed by the %s beside it: %w", certPath, caCertFile, err)
	}
	key, err := readKey(filepath.Join(dir, nodeKeyFile))
	if err != nil {
		return nil, err
	}
	if !belongs(key, cert) {
		return nil, fmt.Errorf("%s is not the key of %s: copy both from one identity directory", nodeKeyFile, certPath)
	}
	gossipKey, err := readGossipKey(filepath.Join(dir, gossipKeyFile))
	if err != nil {
		return nil, err
	}
	id := &Identity{
		Mesh:        mesh,
		Node:        name.node,
		Generation:  name.generation,
		Expires:     cert.NotAfter,
		GossipKey:   gossipKey,
		certificate: tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert},
		ca:          ca,
		roots:       x509.NewCertPool(),
	}
	id.roots.AddCert(ca)
	if id.Authority, err = loadAuthority(dir); errors.Is(err, os.ErrNotExist) {
		id.Authority = nil
	} else if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	resetKey, err := hkdf.Key(sha256.New, secret, nil, "drover stateless reset", len(id.resetKey))
	if err != nil {
		return nil, err
	}
	copy(id.resetKey[:], resetKey)
	return id, nil
}

// Fingerprint identifies the mesh's authority, as tokens have it.
func (id *Identity) Fingerprint() Fingerprint { return fingerprint(id.ca) }

// AuthorityCertificate returns the certificate (DER) of the mesh's authority. Nobody may modify it.
func (id *Identity) AuthorityCertificate() []byte { return id.ca.Raw }

// Request returns a request (PKCS #10, DER) for a new certificate of this node and its key.
func (id *Identity) Request() ([]byte, error) {
	return requestCertificate(id.Node, id.certificate.PrivateKey)
}

// Renew puts a new certificate (DER) into the identity directory dir, for the same node, key and mesh, and
// returns the identity that there is then. If it doesn't fit, dir stays as it is.
func (id *Identity) Renew(dir string, certificate []byte) (*Identity, error) {
	fail := func(err error) (*Identity, error) {
		return nil, fmt.Errorf("renewing the certificate of node %s: %w", id.Node, err)
	}
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return fail(err)
	}
	name, err := id.check(cert)
	if err != nil {
		return fail(err)
	}
	if was := id.subject(); name != was || !cert.NotAfter.After(id.Expires) {
		return fail(fmt.Errorf("got one for %s until %s in place of one for %s until %s", name.uri(), cert.NotAfter, was.uri(), id.Expires))
	}
	if key, ok := id.certificate.PrivateKey.(crypto.Signer); !ok || !belongs(key, cert) {
		return fail(errors.New("got one for another key"))
	}
	if err := replaceCertificate(filepath.Join(dir, nodeCertFile), certificate); err != nil {
		return fail(err)
	}
	return LoadIdentity(dir)
}

func (id *Identity) subject() subject {
	return subject{mesh: id.Mesh, node: id.Node, generation: id.Generation}
}
