package document

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/tollgate/tollgate/libs/egress"
)

const (
	// maxReferenced is the largest number of documents that one refers to, and maxReferencedBytes the size of all of them.
	maxReferenced      = 50
	maxReferencedBytes = 8 << 20
	referenceTimeout   = 10 * time.Second
)

// References reads the documents that a document refers to, from named hosts alone and within bounds. One value serves one
// reading.
type References struct {
	hosts        []string
	allowPrivate bool
	client       *http.Client
	read         int
	bytes        int
}

// NewReferences returns a reader of documents on the hosts, which are names, with a port where it is not that of https.
// allowPrivate lets it connect to loopback and private addresses, and by http; otherwise a document could make the service ask
// its own network.
func NewReferences(hosts []string, allowPrivate bool) *References {
	r := &References{hosts: hosts, allowPrivate: allowPrivate}
	dialer := &net.Dialer{Timeout: referenceTimeout}
	if !allowPrivate {
		dialer.Control = egress.Control
	}
	r.client = &http.Client{
		Timeout: referenceTimeout,
		// No proxy: it would connect in place of the dialer, which looks at the address.
		Transport:     &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, ResponseHeaderTimeout: referenceTimeout},
		CheckRedirect: r.checkRedirect,
	}
	return r
}

func (r *References) checkRedirect(request *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("it redirects more than three times")
	}
	return r.checkURL(request.URL)
}

func (r *References) checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !r.allowPrivate):
		return errors.New("it is not an https URL")
	case u.User != nil:
		return errors.New("it has credentials in it")
	case !slices.Contains(r.hosts, strings.ToLower(u.Host)):
		return fmt.Errorf("the host %s is not in externalReferences, which has %s", u.Host, strings.Join(r.hosts, ", "))
	}
	return nil
}

// referenceError says why what a reference leads to could not be read.
type referenceError struct {
	ref    string
	reason error
}

func (e *referenceError) Error() string {
	return fmt.Sprintf("the reference to %s cannot be followed: %s", e.ref, e.reason)
}

func (e *referenceError) Unwrap() error { return e.reason }

// reader returns the function that the library reads other documents with. used is set once it has read one.
func (r *References) reader(ctx context.Context, used *bool) openapi3.ReadFromURIFunc {
	kept := map[string][]byte{}
	return func(_ *openapi3.Loader, location *url.URL) ([]byte, error) {
		bare := *location
		bare.Fragment = ""
		key := bare.String()
		if data, ok := kept[key]; ok {
			return data, nil
		}
		data, err := r.fetch(ctx, &bare)
		if err != nil {
			return nil, &referenceError{key, err}
		}
		*used = true
		kept[key] = data
		return data, nil
	}
}

func (r *References) fetch(ctx context.Context, u *url.URL) ([]byte, error) {
	if err := r.checkURL(u); err != nil {
		return nil, err
	}
	if r.read++; r.read > maxReferenced {
		return nil, fmt.Errorf("the document refers to more than %d others", maxReferenced)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := r.client.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // the rest repeats the URL
		}
		if errors.Is(err, egress.ErrNotPublic) {
			err = egress.ErrNotPublic // the rest says the address
		}
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers with status %d", response.StatusCode)
	}
	left := maxReferencedBytes - r.bytes
	data, err := io.ReadAll(io.LimitReader(response.Body, int64(left)+1))
	if err != nil {
		return nil, err
	}
	if r.bytes += len(data); len(data) > left {
		return nil, fmt.Errorf("the documents referred to are longer than %d MiB together", maxReferencedBytes>>20)
	}
	_, err = scan(string(data))
	return data, err
}
