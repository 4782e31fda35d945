package agent

import (
	"errors"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/volumes"
	"github.com/drover-mesh/drover/volumes/oci"
	"github.com/drover-mesh/drover/volumes/registry"
)

// imageError says what a person can do about an error of the store of images, or of a registry.
func imageError(what string, err error) error {
	var refused *volumes.RefusedError
	var platform *oci.PlatformError
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case is(oci.ErrName), is(oci.ErrUnnamed), is(volumes.ErrAmbiguous):
		return api.Errorf(api.InvalidArgument, what, "%w", err)
	case errors.As(err, &platform):
		return api.Errorf(api.FailedPrecondition, what, "%w", err).WithCure("--platform chooses another one, for nodes of that kind")
	case errors.As(err, &refused), is(volumes.ErrCorrupt), is(volumes.ErrTooLarge), is(oci.ErrInvalid):
		return api.Errorf(api.InvalidArgument, what, "%w", err).WithCure("nothing was kept of it")
	case is(volumes.ErrFull):
		return api.Errorf(api.FailedPrecondition, what, "%w", err).WithCure("nothing was kept of it")
	case is(registry.ErrNotFound):
		return api.Errorf(api.NotFound, what, "%w", err).WithCure("check its name and its tag")
	case is(registry.ErrDenied):
		return api.Errorf(api.FailedPrecondition, what, "%w", err).
			WithCure("registries say so of images that don't exist, too; otherwise log in with docker login or podman login, or give --authfile")
	case is(registry.ErrUntrusted):
		return api.Errorf(api.FailedPrecondition, what, "%w", err).WithCure("--insecure accepts that, if you trust the network")
	case is(registry.ErrUnreachable):
		return api.Errorf(api.Unavailable, what, "%w", err).WithCure("try again: layers that have come are not fetched again")
	case is(volumes.ErrNotFound):
		return api.Errorf(api.NotFound, what, "%w", err).WithCure("see drover image ls")
	}
	return err
}
