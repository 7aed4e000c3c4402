package password_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/services/identity/internal/password"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	personal := []string{"Kim Example", "kim.example@globex.example", "Tollgate"}
	for text, want := range map[string]string{
		"violet kettle drums at noon":  "",
		"пятнадцать кедров у реки":     "",
		"Tr0ub4dor&3-and-a-lamp":       "",
		"short":                        "has 5 characters",
		"":                             "has 0 characters",
		strings.Repeat("violet7 ", 33): "at most 256",
		"violet kettle\x00 drums at":   "control characters",
		"violet kettle \xff drums":     "not UTF-8",
		"the EXAMPLE kettle drums":     `"example"`,
		"my own globex password yes":   `"globex"`,
		"a long tollgate for kettles":  `"tollgate"`,
		"passwordpassword":             "most common",
		"Password123456789":            "most common",
		"qwertyuiopasdfghjkl":          "most common",
		"correct horse battery staple": "most common",
		"aaaaaaaaaaaaaaaaaaaa":         "most common",
		"abababababababababab":         "most common",
		"abcdefghijklmnopqrst":         "most common",
		"...................":          "most common",
		"!!! letmein letmein !!!":      "most common",
	} {
		err := password.Check(text, personal...)
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
	}
}

func TestHashes(t *testing.T) {
	t.Parallel()
	h := password.NewHasher()
	const text = "violet kettle drums at noon"
	first, err := h.Hash(t.Context(), text)
	require.NoError(t, err)
	second, err := h.Hash(t.Context(), text)
	require.NoError(t, err)
	require.NotEqual(t, first, second, "each has its own salt")
	require.True(t, strings.HasPrefix(first, "$argon2id$v=19$m=19456,t=2,p=1$"))
	for given, want := range map[string]bool{text: true, text + " ": false, "": false} {
		ok, err := h.Matches(t.Context(), first, given)
		require.NoError(t, err)
		require.Equal(t, want, ok, given)
	}
	// The same text in another normal form is the same password.
	composed, err := h.Hash(t.Context(), "caf\u00e9 kettle drums at noon")
	require.NoError(t, err)
	ok, err := h.Matches(t.Context(), composed, "cafe\u0301 kettle drums at noon")
	require.NoError(t, err)
	require.True(t, ok)

	for _, given := range []string{"", text} {
		ok, err = h.Matches(t.Context(), "", given)
		require.NoError(t, err)
		require.False(t, ok, "no password is not the empty one")
	}
	for _, broken := range []string{"x", first[:40], strings.Replace(first, "m=19456", "m=1", 1), first + "!"} {
		_, err = h.Matches(t.Context(), broken, text)
		require.ErrorContains(t, err, "not in the expected form")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // whoever waits for a slot gives up; one who gets it at once may go on
		if _, err = h.Hash(ended, text); err != nil {
			require.ErrorIs(t, err, context.Canceled)
			return
		}
	}
}

func TestCheckNeverFailsBadly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text, name := rapid.String().Draw(t, "text"), rapid.String().Draw(t, "name")
		first, second := password.Check(text, name), password.Check(text, name)
		require.Equal(t, first, second)
		if len(text) < password.MinLength {
			require.Error(t, first)
		}
	})
}

func FuzzCheck(f *testing.F) {
	f.Add("violet kettle drums at noon", "Kim")
	f.Add("\xff\x00", "")
	f.Fuzz(func(t *testing.T, text, name string) {
		if err := password.Check(text, name); err == nil {
			require.GreaterOrEqual(t, len(text), password.MinLength/4)
		}
	})
}
