// Verifies the requests of one Hookmill subscription. Needs Go 1.18 or newer, and nothing else.
package main

import (
@if ed25519
	"crypto/ed25519"
@end
@if hmac
	"crypto/hmac"
	"crypto/@GO_HASH@"
@end
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const tolerance = 300 * time.Second

// verify gives "" for a request that is genuine, otherwise why it is not. It takes the body's bytes as they came in,
// before anything has parsed them (io.ReadAll(r.Body)), and headers with names in lower case.
func verify(method string, headers map[string]string, body []byte, secrets []string, now time.Time) string {
	values := []string{}
	for _, name := range []string{@HEADERS@} {
		if headers[name] != "" {
			values = append(values, headers[name])
		}
	}
	if len(values) == 0 {
		return "the header " + @HEADER@ + " is missing"
	}
@if timestamp
	timestamp := @TIMESTAMP@
	signed, err := @SECONDS@
	if err != nil {
		return "the timestamp cannot be read"
	}
	if age := now.Sub(signed); age > tolerance || age < -tolerance {
		return fmt.Sprintf("the timestamp is %d s old", int(age.Seconds()))
	}
@end
@if id
	id := @ID@
@end
@if cut
	// The URL is a credential, so it is cut here: put in the whole one, as the subscription has it.
@end
	content := []byte(strings.Join([]string{@CONTENT@}, ""))
	matched := false
	for _, value := range values {
		for _, found := range regexp.MustCompile(@SIGNATURE@).FindAllStringSubmatch(value, -1) {
			for _, secret := range secrets {
				matched = matches(secret, content, found[1]) || matched
			}
		}
	}
	if !matched {
		return "no signature matches: another secret, or the body was changed"
	}
	return ""
}

func first(pattern string, text string) string {
	if found := regexp.MustCompile(pattern).FindStringSubmatch(text); found != nil {
		return found[1]
	}
	return ""
}

func unix(text string, perSecond int64) (time.Time, error) {
	number, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(number/perSecond, 0), err
}

func decode(encoding string, text string) ([]byte, error) {
	switch encoding {
	case "base64":
		return base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	case "base64url":
		return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	case "hex":
		return hex.DecodeString(text)
	}
	return []byte(text), nil
}

@if hmac
func matches(secret string, content []byte, signature string) bool {
	key, err := decode("@DECODE@", strings.TrimPrefix(secret, @PREFIX@))
	given, malformed := decode("@ENCODING@", signature)
	if err != nil || malformed != nil {
		return false
	}
	mac := hmac.New(@GO_NEW@, key)
	mac.Write(content)
	return hmac.Equal(mac.Sum(nil), given)
}
@end
@if ed25519
func matches(secret string, content []byte, signature string) bool {
	key, err := decode("base64", strings.TrimPrefix(secret, "whpk_"))
	given, malformed := decode("@ENCODING@", signature)
	return err == nil && malformed == nil && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, content, given)
}
@end

// To try it: one request on standard input, as {"method": …, "headers": {…}, "body": base64}.
func main() {
	var request struct {
		Method  string
		Headers map[string]string
		Body    []byte
	}
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		panic(err)
	}
	secrets := []string{}
	for _, name := range []string{"HOOKMILL_SECRET", "HOOKMILL_SECRET_NEXT"} {
		if os.Getenv(name) != "" {
			secrets = append(secrets, os.Getenv(name))
		}
	}
	if why := verify(request.Method, request.Headers, request.Body, secrets, time.Now()); why != "" {
		fmt.Println(why)
		os.Exit(1)
	}
	fmt.Println("genuine")
}
