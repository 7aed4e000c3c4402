package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/manifest"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
)

// Diff returns what applying the items would change, in their order of application, without changing anything. What is
// wrong is returned with file, line and field.
func (c *Client) Diff(ctx context.Context, items []manifest.Item) ([]resource.Change, error) {
	var changes []resource.Change
	var errs []error
	var assume []string
	for _, service := range resource.Services() {
		own := of(service, items)
		if len(own) > 0 {
			response, err := c.send(ctx, service, own, assume, true)
			if err != nil {
				errs = append(errs, locate(own, err)...)
			}
			changes = append(changes, response.Changes...)
		}
		for _, item := range own {
			assume = append(assume, item.Key())
		}
	}
	return changes, errors.Join(errs...)
}

// Apply makes the resources as the items say. Everything is checked by every service first: a bad item changes nothing at
// all. Each service then applies its own, all or none.
func (c *Client) Apply(ctx context.Context, items []manifest.Item) ([]resource.Change, error) {
	if _, err := c.Diff(ctx, items); err != nil {
		return nil, err
	}
	var changes []resource.Change
	for _, service := range resource.Services() {
		own := of(service, items)
		if len(own) == 0 {
			continue
		}
		response, err := c.send(ctx, service, own, nil, false)
		if err != nil {
			return changes, fmt.Errorf("%w\n%d resources of the services before %s are applied; apply again to do the rest",
				errors.Join(locate(own, err)...), len(changes), service)
		}
		changes = append(changes, response.Changes...)
	}
	return changes, nil
}

func (c *Client) send(ctx context.Context, service string, items []manifest.Item, assume []string, dryRun bool) (resource.ApplyResponse, error) {
	request := resource.ApplyRequest{Assume: assume}
	for _, item := range items {
		request.Resources = append(request.Resources, item.Resource)
	}
	var headers []string
	if dryRun {
		headers = []string{operation.HeaderDryRun, "true"}
	}
	var response resource.ApplyResponse
	err := c.Do(ctx, http.MethodPost, "/"+service+"/v1/apply", request, &response, headers...)
	return response, err
}

func of(service string, items []manifest.Item) []manifest.Item {
	var own []manifest.Item
	for _, item := range items {
		if kind, _, ok := resource.KindOf(item.Kind); ok && kind.Service == service {
			own = append(own, item)
		}
	}
	return own
}

var indexed = regexp.MustCompile(`^resources\[(\d+)\]\.?(.*)$`)

// locate turns the paths of a service's answer into files and lines.
func locate(items []manifest.Item, err error) []error {
	var known *problem.Error
	if !errors.As(err, &known) || len(known.Fields) == 0 {
		return []error{err}
	}
	var errs []error
	for _, f := range known.Fields {
		m := indexed.FindStringSubmatch(f.Path)
		if m == nil {
			errs = append(errs, fmt.Errorf("%s: %s", f.Path, f.Message))
			continue
		}
		i, convErr := strconv.Atoi(m[1])
		if convErr != nil || i >= len(items) {
			errs = append(errs, fmt.Errorf("%s: %s", f.Path, f.Message))
			continue
		}
		errs = append(errs, items[i].Problem(m[2], f.Message))
	}
	return errs
}
