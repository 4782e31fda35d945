package state

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// A Digest addresses content by its hash: "sha256:" and 64 lower-case hexadecimal digits, the form that
// the OCI image specification calls a digest (image-spec, descriptor.md).
type Digest string

const digestPrefix = "sha256:"

// Validate returns an error unless d is a complete SHA-256 digest.
func (d Digest) Validate() error {
	digits, ok := strings.CutPrefix(string(d), digestPrefix)
	if !ok {
		return fmt.Errorf("digest %.80q does not begin with %q", string(d), digestPrefix)
	}
	if _, err := hex.DecodeString(digits); err != nil || len(digits) != 64 || digits != strings.ToLower(digits) {
		return fmt.Errorf("digest %.80q has not 64 lower-case hexadecimal digits", string(d))
	}
	return nil
}

// Short returns the first twelve digits, for people.
func (d Digest) Short() string {
	return fmt.Sprintf("%.12s", strings.TrimPrefix(string(d), digestPrefix))
}
