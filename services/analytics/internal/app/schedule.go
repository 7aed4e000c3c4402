package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/domain"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

const (
	// scheduleTick is how late a rule or report may be noticed.
	scheduleTick = time.Second
	// settle is how long calls are given to get from a gateway into the stream before a window is measured.
	settle = 15 * time.Second
	// A rule is evaluated ten times in its window, within these bounds.
	minInterval = 15 * time.Second
	maxInterval = 5 * time.Minute
	// againSoon is when something is tried again that could not be done.
	againSoon = 10 * time.Second
	// scheduleWorkers is how many rules and reports one process works on at once.
	scheduleWorkers = 4
	// takenFor is how long a rule or report belongs to the process that took it, unless it is done before: longer than its queries.
	takenFor = 2 * time.Minute
)

// Schedule evaluates alert rules and sends reports whose time has come, until ctx ends. Replicas share the work: who takes one moves
// its time on, measures without a lock and then, in one transaction, looks whether it is still as it was, and notes the transition, its
// event and what is told of it. One that cannot be done is put off with its cause, and keeps no other from being done.
func (a *Analytics) Schedule(ctx context.Context) error {
	return a.every(ctx, scheduleTick, "alert rules are not evaluated and reports not sent; it is tried again", func(ctx context.Context) error {
		due := false
		err := a.all(ctx, func(tx pgx.Tx) (err error) {
			due, err = store.AnyDue(ctx, tx, a.now())
			return err
		})
		if err != nil || !due {
			return err
		}
		c := &completeness{a: a}
		var workers sync.WaitGroup
		errs := make([]error, scheduleWorkers)
		for i := range errs {
			workers.Go(func() { errs[i] = errors.Join(untilNone(ctx, c, a.evaluateNext), untilNone(ctx, c, a.sendNext)) })
		}
		workers.Wait()
		return errors.Join(errs...)
	})
}

// untilNone does one thing after the other until there is none whose time has come.
func untilNone(ctx context.Context, c *completeness, next func(ctx context.Context, c *completeness) (bool, error)) error {
	ctx = principal.With(ctx, principal.Service("analytics", principal.AllTenants))
	for ctx.Err() == nil {
		if more, err := next(ctx, c); err != nil || !more {
			return err
		}
	}
	return nil
}

// completeness knows until when what is in the stream is landed. It is safe for concurrent use.
type completeness struct {
	a *Analytics

	mu       sync.Mutex
	lookedAt time.Time
	complete time.Time
}

// until returns the time until which everything is landed, as it was known a moment ago at most.
func (c *completeness) until(ctx context.Context, now time.Time) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.lookedAt.IsZero() && now.Sub(c.lookedAt) < scheduleTick {
		return c.complete, nil
	}
	complete, err := c.a.completeUntil(ctx, now)
	if err == nil {
		c.lookedAt, c.complete = now, complete
	}
	return complete, err
}

func notLanded(complete time.Time) string {
	return "calls since " + complete.UTC().Format(time.RFC3339) + " are not landed yet"
}

// causeOf is what a tenant is told of a failure. One of the installation is logged, once in a row.
func (a *Analytics) causeOf(err error, before, what, id string) string {
	var known *problem.Error
	if errors.As(err, &known) && known.Kind != problem.Internal {
		return known.Message
	}
	const cause = "it fails for a reason that lies in this installation; its operators find it in the log of analytics"
	if before != cause {
		a.Logger.Error("an alert rule or report fails; it is tried again and again", "kind", what, "id", id, "error", err)
	}
	return cause
}

// untouched says whether a row is as it was when it was taken.
func untouched(next, takenNext *time.Time, spec, takenSpec json.RawMessage) bool {
	return next != nil && takenNext != nil && next.Equal(*takenNext) && bytes.Equal(spec, takenSpec)
}

// completeUntil is the time until which everything that is in the stream is landed, now at most.
func (a *Analytics) completeUntil(ctx context.Context, now time.Time) (time.Time, error) {
	complete := now
	landed, err := a.watermark(ctx)
	if err != nil {
		return complete, err
	}
	stream, err := a.Bus.JS.Stream(ctx, bus.CallsStream)
	if err != nil {
		return complete, fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
	}
	for partition, sequence := range landed {
		next, err := stream.GetMsg(ctx, sequence+1, jetstream.WithGetMsgSubject(bus.CallSubject(int(partition))))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return complete, fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
		}
		if next.Time.Before(complete) {
			complete = next.Time
		}
	}
	return complete, nil
}

// evaluateNext evaluates one rule, and returns false when none is due.
func (a *Analytics) evaluateNext(ctx context.Context, c *completeness) (bool, error) {
	now := a.now()
	complete, err := c.until(ctx, now)
	if err != nil {
		return false, err
	}
	var row store.AlertRule
	err = a.all(ctx, func(tx pgx.Tx) (err error) {
		row, err = store.TakeAlertRule(ctx, tx, now, now.Add(takenFor))
		return err
	})
	if err != nil {
		return false, none(err)
	}
	cause, err := a.evaluate(ctx, row, now, complete)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		cause = a.causeOf(err, row.Cause, "alert rule", row.ID)
	}
	if cause == "" {
		return true, nil
	}
	return true, a.all(ctx, func(tx pgx.Tx) error { return store.PostponeAlertRule(ctx, tx, row, cause, a.now().Add(againSoon)) })
}

// evaluate evaluates a rule that was taken; cause says why it cannot be evaluated yet.
func (a *Analytics) evaluate(ctx context.Context, taken store.AlertRule, now, complete time.Time) (cause string, err error) {
	spec := &analyticsv1.AlertRuleSpec{}
	if err := decodeStored(taken.Spec, spec); err != nil {
		return "", err
	}
	end := now.Add(-settle).Truncate(time.Second)
	if complete.Before(end) {
		return notLanded(complete), nil
	}
	measured, err := a.measureRule(ctx, taken.Tenant, spec, end)
	if err != nil {
		return "", err
	}
	_, err = eventlog.Execute(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		row, err := store.LockAlertRule(ctx, tx, taken.Tenant, taken.ID)
		if err != nil || !untouched(row.NextAt, taken.NextAt, row.Spec, taken.Spec) {
			return struct{}{}, none(err)
		}
		window := time.Duration(measured.End - measured.Start)
		next := now.Add(min(max(window/10, minInterval), maxInterval))
		row.NextAt, row.EvaluatedAt, row.Cause, row.Value = &next, &now, "", ""
		if measured.Value != nil {
			row.Value = measured.Value.String()
		}
		if err := a.transit(ctx, tx, &row, spec, measured); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, store.UpsertAlertRule(ctx, tx, row)
	})
	return "", err
}

// none turns the absence of a row into no error.
func none(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

// transit appends what follows from what was measured, and tells of it.
func (a *Analytics) transit(ctx context.Context, tx *eventlog.Tx, row *store.AlertRule, spec *analyticsv1.AlertRuleSpec, m domain.Measured) error {
	rule, version, err := loadRule(ctx, tx, row.Tenant, row.ID)
	if err != nil {
		return err
	}
	events := rule.Evaluate(m)
	tx.AppendFor(row.Tenant, "alert-rule", row.ID, version, events...)
	for i, e := range events {
		now := tx.Now()
		rule = rule.Evolve(e)
		row.Firing, row.Since = rule.Firing, &now
		if err := a.tell(ctx, tx, alertMessage(*row, spec, m, e, fmt.Sprintf("alert/%s/%d", row.ID, version+uint64(i)+1))); err != nil {
			return err
		}
	}
	return nil
}

// alertPayload is the data of a webhook.
type alertPayload struct {
	Tenant   string    `json:"tenant"`
	Rule     string    `json:"rule"`
	Name     string    `json:"name"`
	Title    string    `json:"title"`
	State    string    `json:"state"`
	Kind     string    `json:"kind"`
	Metric   string    `json:"metric"`
	Meter    string    `json:"meter,omitempty"`
	Operator string    `json:"operator,omitempty"`
	Limit    string    `json:"limit,omitempty"`
	Value    string    `json:"value"`
	Before   string    `json:"before,omitempty"`
	Calls    uint64    `json:"calls"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
}

func alertMessage(row store.AlertRule, spec *analyticsv1.AlertRuleSpec, m domain.Measured, event proto.Message, key string) message {
	state, kind := "firing", "alert.fired"
	if _, resolved := event.(*analyticsv1.AlertResolved); resolved {
		state, kind = "resolved", "alert.resolved"
	}
	p := alertPayload{
		Tenant: row.Tenant, Rule: row.ID, Name: row.Name, Title: spec.GetTitle(), State: state, Kind: spec.GetKind(), Metric: metricsOf(spec)[0], Meter: spec.GetMeter(),
		Operator: spec.GetOperator(), Limit: spec.GetValue(), Calls: m.Calls, From: time.Unix(0, m.Start).UTC(), To: time.Unix(0, m.End).UTC(),
	}
	if p.Kind == "" {
		p.Kind = domain.Threshold
	}
	if m.Value != nil {
		p.Value = m.Value.String()
	}
	if m.Before != nil {
		p.Before = m.Before.String()
	}
	title := spec.GetTitle()
	if title == "" {
		title = row.Name
	}
	return message{
		tenant: row.Tenant, key: key, kind: kind, webhook: spec.GetWebhook(), at: *row.Since, payload: p,
		mail: notify.Mail{To: spec.GetMail(), Subject: oneLine(strings.ToUpper(state[:1]) + state[1:] + ": " + title), Text: alertText(p, spec)},
	}
}

// oneLine is a text as a header field of mail takes it.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func alertText(p alertPayload, spec *analyticsv1.AlertRuleSpec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The alert %s is %s.\n\n", p.Name, p.State)
	if spec.GetDescription() != "" {
		fmt.Fprintf(&b, "%s\n\n", spec.GetDescription())
	}
	metric := p.Metric
	if p.Meter != "" {
		metric += " of " + p.Meter
	}
	switch p.Kind {
	case domain.Absence:
		fmt.Fprintf(&b, "It looks for the absence of calls; there were %d.\n", p.Calls)
	case domain.Change:
		fmt.Fprintf(&b, "It looks for a change of %s %s %s %% against the time before: it was %s, and %s before.\n", metric, p.Operator, p.Limit, shownValue(p.Value), shownValue(p.Before))
	default:
		fmt.Fprintf(&b, "It looks for %s %s %s: it was %s, of %d calls.\n", metric, p.Operator, p.Limit, shownValue(p.Value), p.Calls)
	}
	fmt.Fprintf(&b, "Measured from %s to %s.\n", p.From.Format(time.RFC3339), p.To.Format(time.RFC3339))
	return b.String()
}

func shownValue(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}
