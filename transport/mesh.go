package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// validName is RFC 1123's label: names are used in URLs, paths and host names.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckNode says why a node can't have that name.
func CheckNode(name string) error { return checkName("node", name) }

func checkName(what, name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%s name %q: want 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'", what, name)
	}
	return nil
}

// Found makes a mesh called meshName and the identity directory dir of its first node, with the key of the
// mesh's authority in it, so that the node can admit others. It overwrites nothing and leaves nothing half
// done.
func Found(dir, meshName, node string) error {
	if err := errors.Join(checkName("mesh", meshName), checkName("node", node)); err != nil {
		return err
	}
	ca, err := newAuthority(meshName)
	if err != nil {
		return err
	}
	m, err := ca.make(node, newGossipKey())
	if err != nil {
		return err
	}
	m.authorityKey = ca.key
	return m.write(dir)
}

// InitMesh makes a mesh called meshName: a certificate authority and a gossip key in dir, and an identity
// directory dir/NODE for each of nodes, to be carried to that node:
//
//	ca.crt ca.key gossip.key
//	NODE/{node.crt,node.key,ca.crt,gossip.key}
//
// The authority is valid for ten years, a node's certificate for 90 days. Keys are readable by their owner
// only. A node that has ca.key in its identity directory can admit others; none gets it here. InitMesh
// overwrites nothing: it returns an error that wraps [os.ErrExist] if dir has a mesh or one of the nodes. If
// it fails, nothing of the mesh is left.
func InitMesh(dir, meshName string, nodes []string) error {
	if err := checkName("mesh", meshName); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, node := range nodes {
		if err := CheckNode(node); err != nil {
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
	ca, err := newAuthority(meshName)
	if err != nil {
		return err
	}
	// Written first and never over another, the key is also what keeps two of these calls apart.
	if err := writeKey(filepath.Join(dir, caKeyFile), ca.key); err != nil {
		return fmt.Errorf("making the authority of mesh %s: %w", meshName, err)
	}
	if err := fillMesh(dir, ca, nodes); err != nil {
		for _, name := range append([]string{caCertFile, gossipKeyFile, caKeyFile}, nodes...) {
			_ = os.RemoveAll(filepath.Join(dir, name))
		}
		return fmt.Errorf("making mesh %s: %w", meshName, err)
	}
	return nil
}

// fillMesh makes all of a mesh but its authority's key.
func fillMesh(dir string, ca *Authority, nodes []string) error {
	if err := writeGossipKey(filepath.Join(dir, gossipKeyFile), newGossipKey()); err != nil {
		return err
	}
	if err := writeCertificate(filepath.Join(dir, caCertFile), ca.cert.Raw); err != nil {
		return err
	}
	for _, node := range nodes {
		if err := AddNode(dir, node); err != nil {
			return err
		}
	}
	return nil
}

func newGossipKey() []byte {
	key := make([]byte, gossipKeySize)
	rand.Read(key)
	return key
}

// AddNode makes the identity directory dir/node in the directory of a mesh made by [InitMesh]. It
// overwrites nothing and leaves nothing half done.
func AddNode(dir, node string) error {
	if err := CheckNode(node); err != nil {
		return err
	}
	if err := mustNotExist(filepath.Join(dir, node)); err != nil {
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
	m, err := ca.make(node, gossipKey)
	if err != nil {
		return err
	}
	return m.write(filepath.Join(dir, node))
}

// make makes a node's key, and its certificate of generation 0: no enrolment stands behind it.
func (ca *Authority) make(node string, gossipKey []byte) (material, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return material{}, err
	}
	der, err := ca.Certify(node, 0, private.Public())
	return material{node: node, key: private, certificate: der, authority: ca.cert.Raw, gossipKey: gossipKey}, err
}

// RenewNode gives the identity directory dir/node a new certificate for its key, valid for 90 days from
// now. Only node.crt has to be carried to the node.
func RenewNode(dir, node string) error {
	if err := CheckNode(node); err != nil {
		return err
	}
	ca, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, node, nodeCertFile)
	cert, err := readCertificate(path)
	if err != nil {
		return err
	}
	was, err := nameOf(cert)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	der, err := ca.certify(was, cert.PublicKey, time.Now().Add(NodeLifetime))
	if err != nil {
		return err
	}
	if err := replaceCertificate(path, der); err != nil {
		return fmt.Errorf("renewing the certificate of node %s: %w", node, err)
	}
	return nil
}
