package transport

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"path/filepath"
	"strconv"
	"time"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// NodeLifetime is how long a node's certificate is valid.
	NodeLifetime = 90 * 24 * time.Hour
	// clockSkew is how far the clock of a node may be from that of the machine that signs.
	clockSkew = time.Hour
)

// A Fingerprint is the SHA-256 of a public key (its SubjectPublicKeyInfo, RFC 5280).
type Fingerprint [sha256.Size]byte

func fingerprint(cert *x509.Certificate) Fingerprint {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// Authority signs the certificates of one mesh. It is immutable and may be shared.
type Authority struct {
	mesh string
	cert *x509.Certificate
	key  crypto.Signer
}

// newAuthority makes the authority of a new mesh. The mesh's id is its name and 32 random bits, so that two
// meshes of one name don't mistake each other.
func newAuthority(meshName string) (*Authority, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	suffix := make([]byte, 4)
	rand.Read(suffix)
	mesh := meshName + "-" + hex.EncodeToString(suffix)
	template := &x509.Certificate{
		SerialNumber:          serialNumber(),
		Subject:               pkix.Name{CommonName: "drover mesh " + mesh},
		NotBefore:             time.Now().Add(-clockSkew),
		NotAfter:              time.Now().Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		URIs:                  []*url.URL{{Scheme: "drover", Host: mesh, Path: "/ca"}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{mesh: mesh, cert: cert, key: private}, nil
}

// loadAuthority reads the authority from a directory that has its key.
func loadAuthority(dir string) (*Authority, error) {
	cert, err := readCertificate(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, fmt.Errorf("no mesh in %s: %w", dir, err)
	}
	key, err := readKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	ca, err := authorityOf(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, caKeyFile), err)
	}
	return ca, nil
}

// authorityOf puts a certificate and its key together.
func authorityOf(cert *x509.Certificate, key crypto.Signer) (*Authority, error) {
	mesh, err := meshOf(cert)
	if err != nil {
		return nil, err
	}
	if !belongs(key, cert) {
		return nil, fmt.Errorf("not the key of the authority of mesh %s", mesh)
	}
	return &Authority{mesh: mesh, cert: cert, key: key}, nil
}

// belongs says whether a certificate is for the key.
func belongs(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

// Certify returns a certificate (DER) of a node, for that public key and generation (see state.Enrolment),
// valid for 90 days from now.
func (ca *Authority) Certify(node string, generation uint64, public crypto.PublicKey) ([]byte, error) {
	return ca.certify(subject{mesh: ca.mesh, node: node, generation: generation}, public, time.Now().Add(NodeLifetime))
}

func (ca *Authority) certify(s subject, public crypto.PublicKey, until time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: serialNumber(),
		Subject:      pkix.Name{CommonName: s.node},
		NotBefore:    time.Now().Add(-clockSkew),
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{s.uri()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of node %s: %w", s.node, err)
	}
	return der, nil
}

// Key returns the authority's private key (PKCS #8, DER): whoever has it can admit nodes.
func (ca *Authority) Key() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(ca.key) }

// uri is how a certificate names its node.
func (s subject) uri() *url.URL {
	u := &url.URL{Scheme: "drover", Host: s.mesh, Path: "/node/" + s.node}
	if s.generation > 0 {
		u.RawQuery = "generation=" + strconv.FormatUint(s.generation, 10)
	}
	return u
}

func serialNumber() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f // RFC 5280: positive, at most 20 octets
	return new(big.Int).SetBytes(b)
}
