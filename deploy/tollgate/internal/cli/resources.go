package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/manifest"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
)

type fileFlags struct {
	File []string `short:"f" required:"" help:"File or directory (its own files only). Can be repeated." placeholder:"PATH"`
}

type applyCommand struct {
	fileFlags
	remote
}

// Run applies files.
func (a *applyCommand) Run(ctx context.Context, env *environment) error {
	items, err := manifest.Load(a.File, env.lookup)
	if err != nil {
		return err
	}
	api, err := a.client()
	if err != nil {
		return err
	}
	changes, err := api.Apply(ctx, items)
	if err != nil {
		return err
	}
	if a.Output == "json" {
		return printJSON(env.stdout, resource.ApplyResponse{Changes: changes})
	}
	for _, c := range changes {
		fmt.Fprintf(env.stdout, "%s %s\n", label(c), c.Action)
	}
	return nil
}

type diffCommand struct {
	fileFlags
	remote
}

// Run shows what apply would change.
func (d *diffCommand) Run(ctx context.Context, env *environment) error {
	items, err := manifest.Load(d.File, env.lookup)
	if err != nil {
		return err
	}
	api, err := d.client()
	if err != nil {
		return err
	}
	changes, err := api.Diff(ctx, items)
	if err != nil {
		return err
	}
	different := slices.ContainsFunc(changes, func(c resource.Change) bool { return c.Action != resource.Unchanged })
	if d.Output == "json" {
		if err := printJSON(env.stdout, resource.ApplyResponse{Changes: changes}); err != nil {
			return err
		}
	} else if err := printDiff(env.stdout, changes); err != nil {
		return err
	}
	if different {
		return errDifferent
	}
	return nil
}

func label(c resource.Change) string {
	if c.Kind == "Plan" {
		return c.Kind + " " + c.Metadata.Product + "/" + c.Metadata.Name
	}
	return c.Kind + " " + c.Metadata.Name
}

func printDiff(w io.Writer, changes []resource.Change) error {
	for _, c := range changes {
		if c.Action == resource.Unchanged {
			continue
		}
		fmt.Fprintf(w, "%s %s\n", label(c), c.Action)
		if err := printChange(w, "spec", c.Before, c.After); err != nil {
			return err
		}
	}
	return nil
}

// printChange shows the fields in which two documents differ, whose paths begin with root.
func printChange(w io.Writer, root string, rawBefore, rawAfter json.RawMessage) error {
	before, err := flatten(root, rawBefore)
	if err != nil {
		return err
	}
	after, err := flatten(root, rawAfter)
	if err != nil {
		return err
	}
	paths := slices.Compact(slices.Sorted(slices.Values(slices.AppendSeq(slices.Collect(maps.Keys(before)), maps.Keys(after)))))
	for _, path := range paths {
		old, was := before[path]
		now, is := after[path]
		if was && is && old == now {
			continue
		}
		if was {
			fmt.Fprintf(w, "  - %s: %s\n", path, old)
		}
		if is {
			fmt.Fprintf(w, "  + %s: %s\n", path, now)
		}
	}
	return nil
}

// flatten turns a spec into its leaves by their paths.
func flatten(root string, raw json.RawMessage) (map[string]string, error) {
	leaves := map[string]string{}
	if len(raw) == 0 {
		return leaves, nil
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, fmt.Errorf("read specification: %w", err)
	}
	walk(root, value, leaves)
	return leaves, nil
}

func walk(path string, value any, leaves map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for key, e := range v {
			walk(path+"."+key, e, leaves)
		}
	case []any:
		for i, e := range v {
			walk(fmt.Sprintf("%s[%d]", path, i), e, leaves)
		}
	case string:
		if lines := strings.Count(v, "\n"); lines > 0 {
			leaves[path] = fmt.Sprintf("(%d lines)", lines)
			return
		}
		leaves[path] = v
	default:
		leaves[path] = fmt.Sprint(v)
	}
}

type exportCommand struct {
	remote
	Dir string `short:"d" help:"Write one file a kind into this directory instead of printing." placeholder:"DIR"`
}

// Run writes every resource as YAML.
func (e *exportCommand) Run(ctx context.Context, env *environment) error {
	api, err := e.client()
	if err != nil {
		return err
	}
	all, err := api.Export(ctx)
	if err != nil {
		return err
	}
	if e.Output == "json" && e.Dir == "" {
		return printJSON(env.stdout, resource.Export{Resources: all})
	}
	if e.Dir == "" {
		return writeResources(env.stdout, all, nil)
	}
	if err := os.MkdirAll(e.Dir, 0o755); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	for _, kind := range resource.Kinds() {
		own := slices.DeleteFunc(slices.Clone(all), func(r resource.Resource) bool { return r.Kind != kind.Name })
		if len(own) == 0 {
			continue
		}
		if err := exportFile(filepath.Join(e.Dir, strings.ToLower(kind.Name)+".yaml"), own); err != nil {
			return err
		}
		fmt.Fprintf(env.stdout, "%d %s in %s\n", len(own), kind.Name, filepath.Join(e.Dir, strings.ToLower(kind.Name)+".yaml"))
	}
	return nil
}

func exportFile(path string, resources []resource.Resource) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := writeResources(f, resources, documentFiles{filepath.Dir(path)}.write); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// collections maps what people may call a kind to the path of its list.
var collections = map[string]string{
	"accounts": "/identity/v1/accounts", "applications": "/identity/v1/applications", "members": "/identity/v1/members",
	"tokens": "/identity/v1/tokens", "tenants": "/identity/v1/tenants",
	"apis": "/catalog/v1/apis", "apiversions": "/catalog/v1/api-versions", "products": "/catalog/v1/products", "plans": "/catalog/v1/plans",
	"subscriptions": "/subscription/v1/subscriptions", "invoices": "/billing/v1/invoices", "runs": "/billing/v1/runs", "periods": "/billing/v1/periods",
	"gateways": "/metering/v1/gateways", "gaps": "/metering/v1/gaps", "holds": "/metering/v1/periods/holds",
	"roles": "/identity/v1/roles", "sessions": "/identity/v1/sessions",
	"alertrules": "/analytics/v1/alert-rules", "reports": "/analytics/v1/reports",
	"webhooks": "/subscription/v1/webhooks", "mailrecipients": "/subscription/v1/mail-recipients",
}

// searchable are the kinds whose lists take a search.
var searchable = []string{"accounts", "apis", "apiversions", "applications", "plans", "products", "subscriptions", "tenants"}

type getCommand struct {
	Kind   string `arg:"" help:"accounts, applications, members, tokens, tenants, apis, apiversions, products, plans, subscriptions, invoices, runs or gateways."`
	Name   string `arg:"" optional:"" help:"Name or id of one."`
	Search string `help:"Only what has this text in its name or title: accounts, applications, tenants, apis, apiversions, products, plans or subscriptions." placeholder:"TEXT"`
	remote
}

// Run lists a kind, or shows one.
func (g *getCommand) Run(ctx context.Context, env *environment) error {
	kind := strings.ToLower(g.Kind)
	if _, singular := collections[kind+"s"]; singular {
		kind += "s"
	}
	path, ok := collections[kind]
	if !ok {
		return fmt.Errorf("%q is not a kind; want one of %s", g.Kind, strings.Join(slices.Sorted(maps.Keys(collections)), ", "))
	}
	if g.Search != "" && (g.Name != "" || !slices.Contains(searchable, kind)) {
		return fmt.Errorf("--search goes with lists of %s", strings.Join(searchable, ", "))
	}
	api, err := g.client()
	if err != nil {
		return err
	}
	if g.Name != "" {
		var one json.RawMessage
		if err := api.Do(ctx, http.MethodGet, path+"/"+url.PathEscape(g.Name), nil, &one); err != nil {
			return err
		}
		return printOne(env.stdout, g.Output, one)
	}
	query := url.Values{"limit": {"200"}}
	if g.Search != "" {
		query.Set("search", g.Search)
	}
	var all operation.List[json.RawMessage]
	for {
		var page operation.List[json.RawMessage]
		if err := api.Do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		all.Items = append(all.Items, page.Items...)
		if page.Next == "" {
			return printList(env.stdout, g.Output, all.Items)
		}
		query.Set("cursor", page.Next)
	}
}
