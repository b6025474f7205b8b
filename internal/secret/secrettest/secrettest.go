// Package secrettest checks that secrets do not print.
package secrettest

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// NotPrinted prints v, and v inside of other values, in every way that Go
// programs log things, and fails if one of the secrets shows. A secret that v
// does not hold makes the check worthless, so call it with values whose bytes
// you know.
func NotPrinted(t testing.TB, v any, secrets ...[]byte) {
	t.Helper()
	for name, out := range print(v) {
		for _, s := range secrets {
			for form, shown := range forms(s) {
				if strings.Contains(out, shown) {
					t.Errorf("%T under %s shows a secret as %s", v, name, form)
				}
			}
		}
	}
}

// Printed reports whether v shows the secret in any way: for the test of the
// test.
func Printed(v any, secret []byte) bool {
	for _, out := range print(v) {
		for _, shown := range forms(secret) {
			if strings.Contains(out, shown) {
				return true
			}
		}
	}
	return false
}

func print(v any) map[string]string {
	type wrapper struct{ inner any } // unexported: fmt does not call its methods
	type exported struct{ Inner any }
	out := map[string]string{}
	for name, x := range map[string]any{
		"": v, "unexported field, ": wrapper{v}, "exported field, ": exported{v},
		"slice, ": []any{v}, "map, ": map[string]any{"k": v},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%p"} {
			out[name+verb] = fmt.Sprintf(verb, x)
		}
		var text, js bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", x)
		slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "v", x)
		out[name+"slog text"], out[name+"slog JSON"] = text.String(), js.String()
		if b, err := json.Marshal(x); err == nil {
			out[name+"json"] = string(b)
		}
		var g bytes.Buffer
		if gob.NewEncoder(&g).Encode(x) == nil {
			out[name+"gob"] = g.String()
		}
	}
	return out
}

// forms are the ways in which the first bytes of a secret can show.
func forms(secret []byte) map[string]string {
	s := secret[:8]
	list := func(format, sep string) string {
		parts := make([]string, len(s))
		for i, b := range s {
			parts[i] = fmt.Sprintf(format, b)
		}
		return strings.Join(parts, sep)
	}
	return map[string]string{
		"bytes": string(s), "hex": hex.EncodeToString(s), "HEX": strings.ToUpper(hex.EncodeToString(s)),
		"decimal": list("%d", " "), "octal": list("%o", " "), "binary": list("%b", " "),
		"Go syntax": list("0x%x", ", "), "Go syntax, padded": list("0x%02x", ", "), "JSON list": list("%d", ","),
		"hex list": list("%x", " "), "HEX list": list("%X", " "),
		"quoted": strings.Trim(fmt.Sprintf("%q", s), `"`), "base64": base64.StdEncoding.EncodeToString(secret[:6]),
	}
}
