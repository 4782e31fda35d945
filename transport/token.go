package transport

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/drover-mesh/drover/state"
)

// tokenPrefix names what a token is, and the version of its form.
const tokenPrefix = "drover1-"

// tokenLetters are base32's (RFC 4648) in lower case: nothing to quote, and case doesn't matter.
var tokenLetters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	tokenSecret = 16 // bytes
	tokenSize   = tokenSecret + sha256.Size + crc32.Size
)

// A Token is what an operator carries from a mesh to a host that is to join it: a secret that admits the
// host, and the fingerprint of the mesh's authority, by which the host knows the mesh.
//
// As text it is "drover1-" and, in base32, the secret, the fingerprint and a CRC-32 of both (IEEE 802.3, big
// endian), which tells a typing error from a token that isn't known.
type Token struct {
	Secret    [tokenSecret]byte
	Authority Fingerprint
}

// NewToken makes a token for the mesh of that authority.
func NewToken(authority Fingerprint) Token {
	t := Token{Authority: authority}
	rand.Read(t.Secret[:])
	return t
}

// String is the whole token, secret and all.
func (t Token) String() string {
	b := append(t.Secret[:], t.Authority[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return tokenPrefix + tokenLetters.EncodeToString(b)
}

// ID names the token where its secret must not be seen. It follows from the secret's hash.
func (t Token) ID() string {
	hash := sha256.Sum256(t.Secret[:])
	return tokenLetters.EncodeToString(hash[:5])
}

// Hash is what the mesh keeps of the secret.
func (t Token) Hash() state.Digest {
	return state.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(t.Secret[:])))
}

// ParseToken reads what String wrote, in letters of either case. Its errors never hold the token.
func ParseToken(text string) (Token, error) {
	text = strings.ToLower(text)
	letters, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		if strings.HasPrefix(text, "drover") {
			return Token{}, fmt.Errorf("it is a token of another version: this one knows those that begin with %q", tokenPrefix)
		}
		return Token{}, fmt.Errorf("it doesn't begin with %q", tokenPrefix)
	}
	if want := tokenLetters.EncodedLen(tokenSize); len(letters) != want {
		return Token{}, fmt.Errorf("it has %d letters after %q, not %d: a part is missing, or too much was copied", len(letters), tokenPrefix, want)
	}
	b, err := tokenLetters.DecodeString(letters)
	if err != nil {
		return Token{}, errors.New("it has a letter that tokens don't have: they have a-z and 2-7")
	}
	data, sum := b[:tokenSize-crc32.Size], b[tokenSize-crc32.Size:]
	if crc32.ChecksumIEEE(data) != binary.BigEndian.Uint32(sum) {
		return Token{}, errors.New("a letter of it is wrong: its checksum doesn't fit")
	}
	return Token{Secret: [tokenSecret]byte(data), Authority: Fingerprint(data[tokenSecret:])}, nil
}
