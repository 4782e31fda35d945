package transport

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport/wire"
)

// The dialogue of a stream of kind Enrol: a request, an answer, nothing more.
const (
	frameEnrolRequest wire.Type = 1
	frameEnrolAnswer  wire.Type = 2
)

const (
	maxEnrolRequest = 8 << 10
	maxEnrolAnswer  = 64 << 10
)

// EnrolRequest asks a node of the mesh for a certificate: a stranger that has a token, for its first one; a
// node, for one in the place of that which it has.
type EnrolRequest struct {
	// Secret is that of the token, empty from a node that renews.
	Secret []byte `json:"secret,omitempty"`
	// Node is the name that the certificate is to have.
	Node string `json:"node"`
	// Request is a certificate request (PKCS #10, DER). Its signature proves that the sender has the key;
	// nothing else that it says counts.
	Request []byte `json:"request"`
	// Time is the sender's clock.
	Time time.Time `json:"time"`
}

// requestCertificate makes a certificate request for a key.
func requestCertificate(node string, key crypto.PrivateKey) ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: node}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate request: %w", err)
	}
	return der, nil
}

// Write sends the request.
func (r EnrolRequest) Write(w io.Writer) error { return wire.WriteMessage(w, frameEnrolRequest, r) }

// ReadEnrolRequest reads a request, of 8 KiB at most, from whoever it may be.
func ReadEnrolRequest(r io.Reader) (EnrolRequest, error) {
	var request EnrolRequest
	m, err := wire.ReadMessage(r, maxEnrolRequest)
	if err == nil && m.Type != frameEnrolRequest {
		err = fmt.Errorf("frame of type %d where a request should be", m.Type)
	}
	if err == nil {
		err = m.Decode(&request)
	}
	if err != nil {
		return EnrolRequest{}, fmt.Errorf("reading a request for a certificate: %w", err)
	}
	return request, nil
}

// PublicKey returns the key that the request is for, its owner having proven to have it.
func (r EnrolRequest) PublicKey() (ed25519.PublicKey, error) {
	request, err := x509.ParseCertificateRequest(r.Request)
	if err != nil {
		return nil, fmt.Errorf("the certificate request can't be read: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request isn't signed by its key: %w", err)
	}
	key, ok := request.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the certificate request has a key of %v, not Ed25519", request.PublicKeyAlgorithm)
	}
	return key, nil
}

// Token returns the ID and the hash of the token whose secret the request has.
func (r EnrolRequest) Token() (id string, hash state.Digest, err error) {
	if len(r.Secret) != tokenSecret {
		return "", "", fmt.Errorf("the secret of a token has %d bytes, not %d", tokenSecret, len(r.Secret))
	}
	t := Token{Secret: [tokenSecret]byte(r.Secret)}
	return t.ID(), t.Hash(), nil
}

// ClockTooFar says, for people, that the sender's clock is so far from now that a certificate that is made now would
// not be valid there, or returns "".
func (r EnrolRequest) ClockTooFar(now time.Time) string {
	behind := now.Sub(r.Time).Round(time.Second)
	switch {
	case behind > clockSkew:
		return fmt.Sprintf("the clock of the joining host is %v behind: a certificate that is made now would not be valid there yet", behind)
	case -behind > clockSkew:
		return fmt.Sprintf("the clock of the joining host is %v ahead", -behind)
	}
	return ""
}

// KeyDigest is the SHA-256 of a public key, as the committed state has it.
func KeyDigest(key ed25519.PublicKey) (state.Digest, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	return state.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(der))), nil
}

// EnrolAnswer is either a certificate with all that belongs to it, or a refusal, or other nodes to ask.
type EnrolAnswer struct {
	Refusal   *Refusal `json:"refusal,omitempty"`
	Elsewhere []Place  `json:"elsewhere,omitempty"`

	Certificate []byte `json:"certificate,omitempty"` // DER

	// What follows is for strangers only.
	Authority    []byte   `json:"authority,omitempty"`    // its certificate, DER
	AuthorityKey []byte   `json:"authorityKey,omitempty"` // for servers: PKCS #8, DER
	GossipKey    []byte   `json:"gossipKey,omitempty"`
	Settings     Settings `json:"settings,omitzero"`
}

// A Refusal says, for people, why a node was not enrolled.
type Refusal struct {
	// Code is the class of the error, in the words of Connect and gRPC: "failed_precondition". One of class
	// "unavailable" may go when it is tried again.
	Code string `json:"code"`
	Why  string `json:"why"`
	Cure string `json:"cure,omitempty"`
}

// A Place is a node that can enrol others.
type Place struct {
	Node string         `json:"node"`
	Addr netip.AddrPort `json:"addr"`
}

// Settings are what every node of the mesh has in its configuration.
type Settings struct {
	Server      bool             `json:"server,omitempty"` // the node is to be a server
	PodCIDR     netip.Prefix     `json:"podCIDR"`
	OverlayVNI  uint32           `json:"overlayVNI"`
	OverlayPort uint16           `json:"overlayPort"`
	Gossip      []netip.AddrPort `json:"gossip"` // of nodes to find the others through
}

// Write sends the answer.
func (a EnrolAnswer) Write(w io.Writer) error { return wire.WriteMessage(w, frameEnrolAnswer, a) }

// ReadEnrolAnswer reads an answer of 64 KiB at most.
func ReadEnrolAnswer(r io.Reader) (EnrolAnswer, error) {
	var a EnrolAnswer
	m, err := wire.ReadMessage(r, maxEnrolAnswer)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && m.Type != frameEnrolAnswer {
		err = fmt.Errorf("frame of type %d where an answer should be", m.Type)
	}
	if err == nil {
		err = m.Decode(&a)
	}
	if err == nil && a.Refusal == nil && len(a.Elsewhere) == 0 && len(a.Certificate) == 0 {
		err = errors.New("the answer says nothing")
	}
	if err != nil {
		return EnrolAnswer{}, fmt.Errorf("reading the answer to a request for a certificate: %w", err)
	}
	return a, nil
}
