package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/manifest"
	"github.com/tollgate/tollgate/libs/rating"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

type rateCommand struct {
	Plan  string `required:"" help:"File with one Plan." placeholder:"FILE"`
	Usage string `required:"" help:"File with the usage, as JSON." placeholder:"FILE"`
}

// Run rates offline and prints the result as JSON.
func (r *rateCommand) Run(_ context.Context, env *environment) error {
	items, err := manifest.Load([]string{r.Plan}, env.lookup)
	if err != nil {
		return err
	}
	if len(items) != 1 || items[0].Kind != "Plan" {
		return fmt.Errorf("%s: want exactly one document of kind Plan, not %d documents", r.Plan, len(items))
	}
	spec, err := items[0].Decode()
	if err != nil {
		return errors.Join(items[0].Problems(err)...)
	}
	plan, err := rating.Compile(spec.(*catalogv1.PlanSpec))
	if err != nil {
		return errors.Join(items[0].ProblemsBelow("spec", err)...)
	}
	data, err := os.ReadFile(r.Usage)
	if err != nil {
		return fmt.Errorf("read usage: %w", err)
	}
	usage, err := rating.ParseUsage(data)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Usage, err)
	}
	result, err := rating.Rate(plan, usage, rating.Context{})
	if err != nil {
		return fmt.Errorf("%s: %w", r.Usage, err)
	}
	return printJSON(env.stdout, result)
}
