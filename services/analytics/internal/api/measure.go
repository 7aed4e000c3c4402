package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/analytics/internal/app"
)

type measure struct {
	span
	filter
	Metrics string `query:"metrics" description:"Up to 8, with commas between: calls, errors, errorRate, bytes, bytesIn, bytesOut, units, latencyAvg, latencyP50, latencyP90, latencyP99, upstreamAvg, upstreamP50, upstreamP90, upstreamP99; calls by default."`
	UnitsOf string `query:"unitsOf" description:"The meter of the metric units."`
	By      string `query:"by" description:"What calls are grouped by: api, version, operation, account, application, credential, subscription, product, plan, planVersion, gateway, method, host, pathTemplate, path, status, statusClass, responder, error, reason, billable, cacheStatus, target, clientAddress or userAgent."`
	Limit   int    `query:"limit" minimum:"1" maximum:"100" default:"10" description:"Most groups, the largest by the first metric."`
}

func (m *measure) measurement(now time.Time, fields *problem.Fields) app.Measurement {
	q := m.query(fields)
	m.apply(&q, now, fields)
	metrics := []string{"calls"}
	if m.Metrics != "" {
		metrics = strings.Split(m.Metrics, ",")
	}
	if m.Limit < 0 || m.Limit > app.MaxGroups {
		fields.Add("limit", "%d is not a number from 1 to %d", m.Limit, app.MaxGroups)
	}
	groups := m.Limit
	if groups == 0 {
		groups = 10
	}
	return app.Measurement{Query: q, Metrics: metrics, UnitsOf: m.UnitsOf, By: m.By, Groups: groups}
}

type getSeries struct {
	measure
	Step     string `query:"step" description:"Length of a bucket: 1m, 2m, 5m, 10m, 15m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h, 1d, 1w or 1mo; chosen by the time when empty."`
	TimeZone string `query:"timeZone" description:"IANA name of the zone that days, weeks and months are of; UTC by default."`
}

func registerMeasurements(a *operation.API, s *app.Analytics, clock func() time.Time) {
	operation.Register(a, operation.Op[getSeries, app.TimeSeries]{
		Name: "GetTimeSeries", Method: http.MethodGet, Path: "/series", Scope: read, Timeout: 30 * time.Second,
		Summary: "Metrics of calls over time, of the largest groups.",
		Handle: func(ctx context.Context, r *getSeries) (app.TimeSeries, error) {
			var fields problem.Fields
			m := r.measurement(clock(), &fields)
			if err := fields.Err("request-invalid", notValid); err != nil {
				return app.TimeSeries{}, err
			}
			m.Step, m.TimeZone = r.Step, r.TimeZone
			return s.TimeSeries(ctx, m)
		},
	})
	operation.Register(a, operation.Op[measure, app.Ranking]{
		Name: "GetRanking", Method: http.MethodGet, Path: "/ranking", Scope: read, Timeout: 30 * time.Second,
		Summary: "Metrics of calls by group, the largest first.",
		Handle: func(ctx context.Context, r *measure) (app.Ranking, error) {
			var fields problem.Fields
			m := r.measurement(clock(), &fields)
			if err := fields.Err("request-invalid", notValid); err != nil {
				return app.Ranking{}, err
			}
			return s.Ranking(ctx, m)
		},
	})
}
