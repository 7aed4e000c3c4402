package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/services/billing/internal/app"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

type listPeriods struct {
	operation.Page
	Subscription string `query:"subscription" description:"Name or id."`
	State        string `query:"state" enum:"open,held,skipped,invoiced"`
}

func registerPeriods(a *operation.API, b *app.Billing) {
	operation.Register(a, operation.Op[listPeriods, operation.List[app.Period]]{
		Name: "ListPeriods", Method: http.MethodGet, Path: "/periods", Scope: read,
		Summary: "Billing periods, those that end last first: what became of them, and what holds those back that have ended.",
		Handle: func(ctx context.Context, r *listPeriods) (operation.List[app.Period], error) {
			filter, err := r.filter()
			if err != nil {
				return operation.List[app.Period]{}, err
			}
			rows, err := b.Periods(ctx, filter)
			return operation.PageOf(rows, r.Page, func(p app.Period) string {
				return strconv.FormatInt(p.End.UnixNano(), 10) + "." + p.SubscriptionID
			}), err
		},
	})
}

func (r listPeriods) filter() (store.PeriodFilter, error) {
	f := store.PeriodFilter{Subscription: r.Subscription, State: r.State, Limit: r.Size() + 1}
	if !slices.Contains([]string{"", store.Open, store.Held, store.Skipped, store.Invoiced}, r.State) {
		return f, invalid("state", strconv.Quote(r.State)+" is not a state; want open, held, skipped or invoiced")
	}
	if r.Cursor != "" {
		end, id, _ := strings.Cut(r.Cursor, ".")
		at, err := strconv.ParseInt(end, 10, 64)
		if err != nil || id == "" {
			return f, invalid("cursor", "is not the next of a page before")
		}
		f.Before = store.Place{EndsAt: at, Subscription: id}
	}
	return f, nil
}
