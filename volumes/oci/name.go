package oci

import (
	"fmt"

	"github.com/distribution/reference"

	"github.com/drover-mesh/drover/state"
)

// A Name is a reference to an image, complete: with its registry, and with a tag or a digest.
type Name struct {
	Registry   string       // "docker.io"
	Repository string       // "library/redis"
	Tag        string       // "latest"; "" if it has a digest
	Digest     state.Digest // "" if it has a tag
}

// ParseName reads a name and fills in what Docker's users leave out: the registry docker.io, its repository library/
// and the tag latest. A tag beside a digest says nothing and is left out.
func ParseName(s string) (Name, error) {
	named, err := reference.ParseDockerRef(s)
	if err != nil {
		return Name{}, fmt.Errorf("image name %.200q is %w: take [REGISTRY/]REPOSITORY[:TAG], in lower case but for the tag: %w", s, ErrName, err)
	}
	n := Name{Registry: reference.Domain(named), Repository: reference.Path(named)}
	switch r := named.(type) {
	case reference.Tagged:
		n.Tag = r.Tag()
	case reference.Digested:
		n.Digest = state.Digest(r.Digest())
		if err := n.Digest.Validate(); err != nil {
			return Name{}, fmt.Errorf("image name %.200q is %w: %w", s, ErrName, err)
		}
	}
	return n, nil
}

// String is the name with everything in it.
func (n Name) String() string { return n.with(n.Registry + "/" + n.Repository) }

// Familiar is the name as Docker shows it: without what ParseName fills in, but for the tag.
func (n Name) Familiar() string { return n.with(n.FamiliarRepository()) }

// FamiliarRepository is the registry and the repository, as Docker shows them.
func (n Name) FamiliarRepository() string {
	named, err := reference.WithName(n.Registry + "/" + n.Repository)
	if err != nil {
		return n.Registry + "/" + n.Repository
	}
	return reference.FamiliarName(named)
}

func (n Name) with(repository string) string {
	if n.Digest != "" {
		return repository + "@" + string(n.Digest)
	}
	return repository + ":" + n.Tag
}
