package transport

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Names of the files of a mesh directory and of the identity directories in it.
const (
	caCertFile    = "ca.crt"
	caKeyFile     = "ca.key"
	nodeCertFile  = "node.crt"
	nodeKeyFile   = "node.key"
	gossipKeyFile = "gossip.key"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	nodeLifetime = 90 * 24 * time.Hour
	// clockSkew is how far the clock of a node may be behind that of the machine that signs.
	clockSkew = time.Hour
	// gossipKeySize selects AES-256 in memberlist (its Config.SecretKey).
	gossipKeySize = 32
)

// validName is RFC 1123's label: names are used in URLs, paths and host names.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func checkName(what, name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%s name %q: want 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'", what, name)
	}
	return nil
}

// InitMesh makes a mesh called meshName: a certificate authority and a gossip key in dir, and an identity
// directory dir/NODE for each of nodes, to be carried to that node:
//
//	ca.crt ca.key gossip.key
//	NODE/{node.crt,node.key,ca.crt,gossip.key}
//
// The mesh's id is its name and 32 random bits, so that two meshes of one name don't mistake each other.
// The authority is valid for ten years, a node's certificate for 90 days. Keys are readable by their owner
// only; ca.key is needed for [AddNode] and [RenewNode] alone and belongs on no node. InitMesh overwrites
// nothing: it returns an error that wraps [os.ErrExist] if dir has a mesh or one of the nodes. If it fails,
// nothing of the mesh is left.
func InitMesh(dir, meshName string, nodes []string) error {
	if err := checkName("mesh", meshName); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, node := range nodes {
		if err := checkName("node", node); err != nil {
			return err
		}
		if seen[node] {
			return fmt.Errorf("node %s is named twice", node)
		}
		seen[node] = true
	}
	for _, name := range append([]string{caCertFile, caKeyFile, gossipKeyFile}, nodes...) {
		if err := mustNotExist(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the mesh directory: %w", err)
	}
	// Made first and never over another, the key is also what keeps two of these calls apart.
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, caKeyFile), private); err != nil {
		return fmt.Errorf("making the authority of mesh %s: %w", meshName, err)
	}
	if err := fillMesh(dir, meshName, nodes, public, private); err != nil {
		for _, name := range append([]string{caCertFile, gossipKeyFile, caKeyFile}, nodes...) {
			_ = os.RemoveAll(filepath.Join(dir, name))
		}
		return fmt.Errorf("making mesh %s: %w", meshName, err)
	}
	return nil
}

func mustNotExist(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w and is not overwritten; remove it first, or choose another directory", path, os.ErrExist)
	case errors.Is(err, os.ErrNotExist):
		return nil
	default:
		return err
	}
}

// fillMesh makes all of a mesh but its authority's key.
func fillMesh(dir, meshName string, nodes []string, public ed25519.PublicKey, private ed25519.PrivateKey) error {
	suffix := make([]byte, 4)
	gossipKey := make([]byte, gossipKeySize)
	rand.Read(suffix)
	rand.Read(gossipKey)
	mesh := meshName + "-" + hex.EncodeToString(suffix)
	template := &x509.Certificate{
		SerialNumber:          serialNumber(),
		Subject:               pkix.Name{CommonName: "drover mesh " + mesh},
		NotBefore:             time.Now().Add(-clockSkew),
		NotAfter:              time.Now().Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		URIs:                  []*url.URL{{Scheme: "drover", Host: mesh, Path: "/ca"}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return err
	}
	if err := writeGossipKey(filepath.Join(dir, gossipKeyFile), gossipKey); err != nil {
		return err
	}
	if err := writeCertificate(filepath.Join(dir, caCertFile), der); err != nil {
		return err
	}
	for _, node := range nodes {
		if err := AddNode(dir, node); err != nil {
			return err
		}
	}
	return nil
}

// AddNode makes the identity directory dir/node in the directory of a mesh made by [InitMesh]. It
// overwrites nothing and leaves nothing half done.
func AddNode(dir, node string) error {
	if err := checkName("node", node); err != nil {
		return err
	}
	final := filepath.Join(dir, node)
	if err := mustNotExist(final); err != nil {
		return err
	}
	ca, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	gossipKey, err := readGossipKey(filepath.Join(dir, gossipKeyFile))
	if err != nil {
		return err
	}
	draft, err := os.MkdirTemp(dir, "."+node+".*")
	if err != nil {
		return fmt.Errorf("making the identity of node %s: %w", node, err)
	}
	defer func() { _ = os.RemoveAll(draft) }()

	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	err = errors.Join(
		writeKey(filepath.Join(draft, nodeKeyFile), private),
		writeGossipKey(filepath.Join(draft, gossipKeyFile), gossipKey),
		writeCertificate(filepath.Join(draft, caCertFile), ca.cert.Raw),
		ca.issue(filepath.Join(draft, nodeCertFile), node, private.Public(), time.Now().Add(nodeLifetime)),
	)
	if err != nil {
		return fmt.Errorf("making the identity of node %s: %w", node, err)
	}
	return os.Rename(draft, final)
}

// RenewNode gives the identity directory dir/node a new certificate for its key, valid for 90 days from
// now. Only node.crt has to be carried to the node.
func RenewNode(dir, node string) error {
	if err := checkName("node", node); err != nil {
		return err
	}
	ca, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	private, err := readKey(filepath.Join(dir, node, nodeKeyFile))
	if err != nil {
		return err
	}
	err = replace(filepath.Join(dir, node, nodeCertFile), func(draft string) error {
		return ca.issue(draft, node, private.Public(), time.Now().Add(nodeLifetime))
	})
	if err != nil {
		return fmt.Errorf("renewing the certificate of node %s: %w", node, err)
	}
	return nil
}

// replace puts a file that write makes in the place of path, or leaves path as it was.
func replace(path string, write func(draft string) error) error {
	draft := path + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := write(draft); err != nil {
		return err
	}
	return os.Rename(draft, path)
}

// authority signs certificates of one mesh.
type authority struct {
	mesh string
	cert *x509.Certificate
	key  crypto.Signer
}

func loadAuthority(dir string) (*authority, error) {
	cert, err := readCertificate(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, fmt.Errorf("no mesh in %s: %w", dir, err)
	}
	mesh, err := meshOf(cert)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, caCertFile), err)
	}
	key, err := readKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	return &authority{mesh: mesh, cert: cert, key: key}, nil
}

// issue writes the certificate of a node to path, which must not exist.
func (ca *authority) issue(path, node string, public crypto.PublicKey, until time.Time) error {
	template := &x509.Certificate{
		SerialNumber: serialNumber(),
		Subject:      pkix.Name{CommonName: node},
		NotBefore:    time.Now().Add(-clockSkew),
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{{Scheme: "drover", Host: ca.mesh, Path: "/node/" + node}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.key)
	if err != nil {
		return err
	}
	return writeCertificate(path, der)
}

func serialNumber() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f // RFC 5280: positive, at most 20 octets
	return new(big.Int).SetBytes(b)
}

func writeKey(path string, key ed25519.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func writeCertificate(path string, der []byte) error {
	return writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func writeGossipKey(path string, key []byte) error {
	return writeNew(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600)
}

func writeNew(path string, data []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}
