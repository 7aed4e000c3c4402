package config

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

// Mock is one answer of an operation of a mocked version. It never changes.
type Mock struct {
	Status      int
	ContentType string
	// Example is its name in the document, empty for one made from the schema.
	Example string
	Headers [][2]string
	Body    []byte
}

// compileMocks takes the answers of a mocked version in. Each operation has one at least.
func (a *API) compileMocks(mocks []*gatewayv1.MockAnswer) error {
	if !a.Mocked {
		return nil
	}
	var errs []error
	for i, d := range mocks {
		o := a.operation(d.GetOperation())
		if o == nil || d.GetStatus() < 200 || d.GetStatus() > 599 {
			errs = append(errs, fmt.Errorf("mocks[%d]: is not an answer from 200 to 599 of an operation that is there", i))
			continue
		}
		m := &Mock{Status: int(d.GetStatus()), ContentType: d.GetContentType(), Example: d.GetExample(), Body: d.GetBody()}
		for name, value := range d.GetHeaders() {
			m.Headers = append(m.Headers, [2]string{http.CanonicalHeaderKey(name), value})
		}
		slices.SortFunc(m.Headers, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
		o.Mocks = append(o.Mocks, m)
	}
	for _, o := range a.Operations {
		if len(o.Mocks) == 0 {
			errs = append(errs, fmt.Errorf("mocks: the operation %s has no answer", o.ID))
		}
	}
	return errors.Join(errs...)
}

// compileDeprecation makes the fields that warn clients of a deprecated version.
func (a *API) compileDeprecation(d *gatewayv1.APIDocument) {
	if d.GetStage() != "deprecated" {
		return
	}
	if at := d.GetDeprecatedAt(); at > 0 {
		a.Deprecation = fmt.Sprintf("@%d", at) // a Date of RFC 9651, section 3.3.7
	}
	if at := d.GetSunsetAt(); at > 0 {
		a.Sunset = time.Unix(at, 0).UTC().Format(http.TimeFormat)
	}
	if link := d.GetDeprecationLink(); link != "" {
		a.DeprecationLink = "<" + link + `>; rel="deprecation"; type="text/html"`
	}
}
