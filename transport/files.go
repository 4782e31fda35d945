package transport

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/drover-mesh/drover/durable"
)

// Names of the files of a mesh directory and of the identity directories in it.
const (
	caCertFile    = "ca.crt"
	caKeyFile     = "ca.key"
	nodeCertFile  = "node.crt"
	nodeKeyFile   = "node.key"
	gossipKeyFile = "gossip.key"
)

// gossipKeySize selects AES-256 in memberlist (its Config.SecretKey).
const gossipKeySize = 32

// material is what an identity directory holds.
type material struct {
	node                   string
	key                    crypto.Signer
	certificate, authority []byte // DER
	gossipKey              []byte
	authorityKey           crypto.Signer // nil: the node can't admit others
}

// write makes the identity directory, which must not exist, whole or not at all.
func (m material) write(dir string) error {
	fail := func(err error) error { return fmt.Errorf("making the identity of node %s: %w", m.node, err) }
	if err := mustNotExist(dir); err != nil {
		return err
	}
	draft, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".*")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(draft) }()
	err = errors.Join(
		writeKey(filepath.Join(draft, nodeKeyFile), m.key),
		writeGossipKey(filepath.Join(draft, gossipKeyFile), m.gossipKey),
		writeCertificate(filepath.Join(draft, caCertFile), m.authority),
		writeCertificate(filepath.Join(draft, nodeCertFile), m.certificate),
	)
	if m.authorityKey != nil {
		err = errors.Join(err, writeKey(filepath.Join(draft, caKeyFile), m.authorityKey))
	}
	if err == nil {
		err = durable.SyncDir(draft)
	}
	if err == nil {
		err = durable.Rename(draft, dir)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// WriteKey writes a private key to path, which must not exist, readable by its owner only. It outlives a loss of power.
func WriteKey(path string, key crypto.Signer) error {
	if err := writeKey(path, key); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// ReadKey reads what WriteKey wrote. A file that others than its owner may read is refused.
func ReadKey(path string) (crypto.Signer, error) { return readKey(path) }

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

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return durable.Create(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func writeCertificate(path string, der []byte) error {
	return durable.Create(path, certificatePEM(der), 0o644)
}

// replaceCertificate puts a certificate in the place of the one in path, or leaves that.
func replaceCertificate(path string, der []byte) error {
	return durable.WriteFile(path, certificatePEM(der), 0o644)
}

func writeGossipKey(path string, key []byte) error {
	return durable.Create(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600)
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
	key, err := parseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func parseKey(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T can't sign", key)
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
