package transport_test

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/drover-mesh/drover/transport"
)

func aToken() transport.Token {
	var authority transport.Fingerprint
	rand.Read(authority[:])
	return transport.NewToken(authority)
}

func TestTokensComeBackAsWritten(t *testing.T) {
	token := aToken()
	text := token.String()
	for _, as := range []string{text, strings.ToUpper(text)} {
		got, err := transport.ParseToken(as)
		if err != nil || got != token {
			t.Fatalf("%s: got %v, %v", as, got, err)
		}
	}
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyz234567-1") != "" || len(text) > 100 {
		t.Errorf("%q has letters that a shell may see, or is long", text)
	}
	if token.ID() == transport.NewToken(token.Authority).ID() || len(token.ID()) != 8 || strings.Contains(text, token.ID()) {
		t.Errorf("the ID of %s is %s", text, token.ID())
	}
	if err := token.Hash().Validate(); err != nil {
		t.Error(err)
	}
}

func TestBadTokens(t *testing.T) {
	text := aToken().String()
	for what, c := range map[string]struct{ token, want string }{
		"nothing":           {"", "doesn't begin with"},
		"something else":    {"abcdef.0123456789abcdef", "doesn't begin with"},
		"a later version":   {"drover2-" + text[8:], "another version"},
		"cut":               {text[:len(text)-1], "a part is missing"},
		"only the prefix":   {"drover1-", "0 letters"},
		"copied twice":      {text + text, "too much was copied"},
		"a line end in it":  {text[:40] + "\n" + text[40:], "85 letters"},
		"a letter too few":  {text[:20] + text[21:], "83 letters"},
		"a foreign letter":  {text[:20] + "1" + text[21:], "a letter that tokens don't have"},
		"two exchanged":     {exchange(text), "checksum"},
		"another last one":  {text[:len(text)-1] + another(text[len(text)-1]), "letter"},
		"another first one": {text[:8] + another(text[8]) + text[9:], "checksum"},
	} {
		_, err := transport.ParseToken(c.token)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		} else if strings.Contains(err.Error(), text[8:30]) {
			t.Errorf("%s: the error holds the token: %v", what, err)
		}
	}
}

// exchange swaps two letters that differ.
func exchange(text string) string {
	b := []byte(text)
	for i := 20; i < len(b); i++ {
		if b[i] != b[i+1] {
			b[i], b[i+1] = b[i+1], b[i]
			return string(b)
		}
	}
	return ""
}

func another(letter byte) string {
	if letter == 'q' {
		return "a"
	}
	return "q"
}

func FuzzParseToken(f *testing.F) {
	f.Add(aToken().String())
	f.Add("drover1-")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := transport.ParseToken(text)
		if err == nil && token.String() != strings.ToLower(text) {
			t.Errorf("%q was read as %s", text, token)
		}
	})
}
