package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/egress"
	"github.com/tollgate/tollgate/libs/problem"
)

// Headers of a webhook (Standard Webhooks 1.0).
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// secretPrefix begins a secret, as Standard Webhooks says.
const secretPrefix = "whsec_"

// NewSecret returns a secret for an endpoint.
func NewSecret() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: see crypto/rand
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// CheckURL says what is wrong with the URL of a webhook's endpoint, as a problem with the field's path.
func CheckURL(path, text string) error {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.Fragment != "" {
		return problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{
			Path: path, Message: `is not a URL as in "https://example.com/hooks" (http or https, without user and fragment)`,
		})
	}
	return nil
}

// Sign returns the value of HeaderSignature for a message.
func Sign(secret, id string, at time.Time, body []byte) (string, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
	if err != nil {
		return "", errors.New("the secret is not base64")
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

// signedRequest is the content of a webhook in the outbox.
type signedRequest struct {
	URL, Secret string
	Body        []byte
}

type webhooks struct {
	client *http.Client
	clock  func() time.Time
}

func newWebhooks(allowPrivate bool, clock func() time.Time) *webhooks {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if !allowPrivate {
		dialer.Control = egress.Control
	}
	return &webhooks{clock: clock, client: &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 15 * time.Second,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (w *webhooks) send(ctx context.Context, id string, content []byte) error {
	var r signedRequest
	if err := json.Unmarshal(content, &r); err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	now := w.clock()
	signature, err := Sign(r.Secret, id, now, r.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return fmt.Errorf("%w: the URL is not valid", errPermanent)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Tollgate")
	request.Header.Set(HeaderID, id)
	request.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(HeaderSignature, signature)
	response, err := w.client.Do(request)
	if err != nil {
		return withoutPlace(err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10) // so that the connection can be used again
	switch {
	case response.StatusCode/100 == 2:
		return nil
	case response.StatusCode == http.StatusGone:
		return fmt.Errorf("%w: the endpoint answered 410 Gone", errPermanent)
	default:
		return fmt.Errorf("the endpoint answered %d, not 2xx", response.StatusCode)
	}
}

// withoutPlace leaves out of an error what it repeats of the URL, whose path and query may be secrets, and all addresses, which may
// be of the network that the service runs in: the error is shown and kept.
func withoutPlace(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var lookUp *net.DNSError
	var connection *net.OpError
	switch {
	case errors.Is(err, egress.ErrNotPublic):
		return fmt.Errorf("%w, and private ones are not allowed (webhook-allow-private)", egress.ErrNotPublic)
	case errors.As(err, &lookUp) && lookUp.IsNotFound:
		return errors.New("there is no host of that name")
	case errors.As(err, &lookUp):
		return errors.New("the host's name could not be looked up")
	case errors.As(err, &connection):
		return connection.Err
	}
	return err
}
