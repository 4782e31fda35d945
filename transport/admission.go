package transport

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Admission is what a host has got that a mesh admits.
type Admission struct {
	Mesh     string    // the mesh's id
	By       string    // the node that admitted it
	Expires  time.Time // when the certificate ceases to be valid
	Settings Settings

	material material
}

// Write makes the identity directory dir of the new node, which must not exist, whole or not at all.
func (a *Admission) Write(dir string) error { return a.material.write(dir) }

// admit makes sure of all that an answer holds: what is wrong with it now would keep the agent from
// starting, or from being taken for who it is.
func (j *joining) admit(answer EnrolAnswer, from proof) (*Admission, *JoinError) {
	a, err := j.check(answer, from)
	if err != nil {
		return nil, refusal("internal", "run the same version of drover on each node", "node %s has answered with what can't be used: %s", from.node, err)
	}
	return a, nil
}

func (j *joining) check(answer EnrolAnswer, from proof) (*Admission, error) {
	if !bytes.Equal(answer.Authority, from.authority.Raw) {
		return nil, errors.New("the authority is not the one that its certificate is of")
	}
	cert, err := x509.ParseCertificate(answer.Certificate)
	if err != nil {
		return nil, err
	}
	name, err := nameOf(cert)
	if err != nil {
		return nil, err
	}
	if name.mesh != from.mesh || name.node != j.Node {
		return nil, fmt.Errorf("the certificate is that of %s", name.uri())
	}
	roots := x509.NewCertPool()
	roots.AddCert(from.authority)
	if err := errors.Join(checkTime(name.node, cert, time.Now()), checkSignature(cert, roots, time.Now())); err != nil {
		return nil, err
	}
	if !belongs(j.Key, cert) {
		return nil, errors.New("the certificate is for another key")
	}
	if len(answer.GossipKey) != gossipKeySize {
		return nil, fmt.Errorf("the gossip key has %d bytes, not %d", len(answer.GossipKey), gossipKeySize)
	}
	if err := answer.Settings.check(); err != nil {
		return nil, err
	}
	a := &Admission{Mesh: name.mesh, By: from.node, Expires: cert.NotAfter, Settings: answer.Settings, material: material{
		node: j.Node, key: j.Key, certificate: answer.Certificate, authority: answer.Authority, gossipKey: answer.GossipKey,
	}}
	if len(answer.AuthorityKey) > 0 {
		key, err := parseKey(answer.AuthorityKey)
		if err != nil {
			return nil, fmt.Errorf("the key of the authority: %w", err)
		}
		if _, err := authorityOf(from.authority, key); err != nil {
			return nil, err
		}
		a.material.authorityKey = key
	}
	return a, nil
}

func (s Settings) check() error {
	switch {
	case !s.PodCIDR.IsValid():
		return errors.New("the mesh has no network for pods")
	case s.OverlayVNI == 0 || s.OverlayPort == 0:
		return errors.New("the mesh has no overlay")
	case len(s.Gossip) == 0:
		return errors.New("it names nobody to find the others through")
	}
	return nil
}
