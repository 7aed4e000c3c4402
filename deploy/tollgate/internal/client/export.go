package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/tollgate/tollgate/libs/resource"
)

// Export returns every resource of every service, in the order of the services.
func (c *Client) Export(ctx context.Context) ([]resource.Resource, error) {
	var all []resource.Resource
	for _, service := range resource.Services() {
		path := "/" + service + "/v1/export"
		for cursor := ""; ; {
			query := ""
			if cursor != "" {
				query = "?cursor=" + url.QueryEscape(cursor)
			}
			var page resource.Export
			if err := c.Do(ctx, http.MethodGet, path+query, nil, &page); err != nil {
				return nil, err
			}
			all = append(all, page.Resources...)
			if cursor = page.Next; cursor == "" {
				break
			}
		}
	}
	return all, nil
}
