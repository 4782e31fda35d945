package transport

import (
	"bytes"
	"crypto"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Identity is what a node proves itself with. It is immutable and may be shared.
type Identity struct {
	Mesh      string    // the mesh's id
	Node      string    // the node's name
	Expires   time.Time // when the certificate ceases to be valid
	GossipKey []byte    // 32 bytes, the same on every node of the mesh; not to be changed

	certificate tls.Certificate
	roots       *x509.CertPool
	// resetKey makes the stateless reset tokens (RFC 9000, section 10.3). It follows from the node's key,
	// so that a restarted agent can tell the peers of its predecessor that their connections are gone.
	resetKey [32]byte
}

// LoadIdentity reads the identity directory of a node, as made by [InitMesh] or [AddNode]. Keys that others
// than their owner may read are refused. A certificate that has expired is not: its peers will say so.
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
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s: copy both from one identity directory", nodeKeyFile, certPath)
	}
	gossipKey, err := readGossipKey(filepath.Join(dir, gossipKeyFile))
	if err != nil {
		return nil, err
	}
	id := &Identity{
		Mesh:        mesh,
		Node:        name.node,
		Expires:     cert.NotAfter,
		GossipKey:   gossipKey,
		certificate: tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert},
		roots:       x509.NewCertPool(),
	}
	id.roots.AddCert(ca)
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

func readCertificate(path string) (*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s: want one certificate in PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

func readKey(path string) (crypto.Signer, error) {
	data, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: want a private key in PEM (PKCS #8)", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T can't sign", path, key)
	}
	return signer, nil
}

func readGossipKey(path string) ([]byte, error) {
	data, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(key) != gossipKeySize {
		return nil, fmt.Errorf("%s: want %d bytes in base64", path, gossipKeySize)
	}
	return key, nil
}

func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (mode %04o): run chmod 600 %s", path, mode, path)
	}
	return os.ReadFile(path)
}
