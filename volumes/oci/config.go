package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/drover-mesh/drover/state"
)

// A Config is what an image's configuration says (image-spec, config.md).
type Config struct {
	Layers   []state.Digest  // of the uncompressed tars, the lowest first
	Run      json.RawMessage // the "config" object: how to run it; nil if it has none
	Platform v1.Platform     // fields may be empty
	Created  time.Time       // zero if it doesn't say
}

// ParseConfig reads an image configuration.
func ParseConfig(document []byte) (Config, error) {
	var file v1.ConfigFile // its types check those fields that are used as they are in Run
	var raw struct {
		Config json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(document, &file); err != nil {
		return Config{}, invalidf("its configuration can't be read: %w", err)
	}
	if err := json.Unmarshal(document, &raw); err != nil {
		return Config{}, invalidf("its configuration can't be read: %w", err)
	}
	if file.RootFS.Type != "" && file.RootFS.Type != "layers" {
		return Config{}, invalidf("its root file system is of type %.40q, where only \"layers\" is known", file.RootFS.Type)
	}
	switch n := len(file.RootFS.DiffIDs); {
	case n == 0:
		return Config{}, invalidf("its configuration names no layers")
	case n > maxLayers:
		return Config{}, invalidf("it has %d layers, more than %d", n, maxLayers)
	}
	if file.OS != "" && file.OS != "linux" {
		return Config{}, invalidf("it is for the operating system %.40q: only linux images run here", file.OS)
	}
	c := Config{Created: file.Created.Time}
	if p := file.Platform(); p != nil {
		c.Platform = v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	}
	if len(raw.Config) > 0 && string(raw.Config) != "null" {
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw.Config); err != nil {
			return Config{}, invalidf("its configuration can't be read: %w", err)
		}
		c.Run = compact.Bytes()
	}
	for _, id := range file.RootFS.DiffIDs {
		d, err := digestOf(id)
		if err != nil {
			return Config{}, err
		}
		c.Layers = append(c.Layers, d)
	}
	return c, nil
}

// digestOf is a digest as this module writes it.
func digestOf(h v1.Hash) (state.Digest, error) {
	d := state.Digest(h.String())
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return d, nil
}
