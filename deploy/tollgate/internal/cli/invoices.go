package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/tollgate/tollgate/libs/operation"
)

type invoicesCommand struct {
	List    invoicesListCommand    `cmd:"" help:"Invoices that were made."`
	Get     invoicesGetCommand     `cmd:"" help:"One invoice, with its lines and evidence."`
	Calls   invoicesCallsCommand   `cmd:"" help:"The calls behind a line of an invoice."`
	PDF     invoicesPDFCommand     `cmd:"" name:"pdf" help:"A final invoice as PDF."`
	Preview invoicesPreviewCommand `cmd:"" help:"What a subscription's open period comes to so far."`
}

type invoicesListCommand struct{ remote }

// Run lists invoices.
func (i *invoicesListCommand) Run(ctx context.Context, env *environment) error {
	return (&getCommand{Kind: "invoices", remote: i.remote}).Run(ctx, env)
}

type invoicesGetCommand struct {
	Invoice string `arg:"" help:"Number or id."`
	remote
}

// Run shows an invoice.
func (i *invoicesGetCommand) Run(ctx context.Context, env *environment) error {
	return (&getCommand{Kind: "invoices", Name: i.Invoice, remote: i.remote}).Run(ctx, env)
}

type invoicesPreviewCommand struct {
	Subscription string `arg:"" help:"Name or id."`
	remote
}

// Run shows a preview.
func (i *invoicesPreviewCommand) Run(ctx context.Context, env *environment) error {
	return showOne(ctx, env, i.remote, "/billing/v1/subscriptions/"+url.PathEscape(i.Subscription)+"/preview")
}

type invoicesPDFCommand struct {
	Invoice string `arg:"" help:"Number or id."`
	File    string `short:"f" help:"File to write; NUMBER.pdf by default." placeholder:"FILE"`
	remote
}

// Run writes an invoice as PDF.
func (i *invoicesPDFCommand) Run(ctx context.Context, env *environment) error {
	api, err := i.client()
	if err != nil {
		return err
	}
	body, _, err := api.Download(ctx, "/billing/v1/invoices/"+url.PathEscape(i.Invoice)+"/pdf")
	if err != nil {
		return err
	}
	name := i.File
	if name == "" {
		name = filepath.Base(i.Invoice) + ".pdf"
	}
	if err := os.WriteFile(name, body, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "%s written\n", name)
	return nil
}

type invoicesCallsCommand struct {
	Invoice string `arg:"" help:"Number or id."`
	Line    int    `arg:"" help:"Counted from 1."`
	Limit   int    `help:"Most calls to show." default:"20"`
	remote
}

// Run shows how many calls are behind a line, and the latest of them.
func (i *invoicesCallsCommand) Run(ctx context.Context, env *environment) error {
	api, err := i.client()
	if err != nil {
		return err
	}
	var behind struct {
		Count     uint64 `json:"count"`
		CallsPath string `json:"callsPath"`
	}
	path := fmt.Sprintf("/billing/v1/invoices/%s/lines/%d/calls", url.PathEscape(i.Invoice), i.Line)
	if err := api.Do(ctx, http.MethodGet, path, nil, &behind); err != nil {
		return err
	}
	if i.Output == "table" {
		fmt.Fprintf(env.stdout, "%d calls\n", behind.Count)
	}
	if behind.CallsPath == "" {
		return nil
	}
	var page operation.List[json.RawMessage]
	if err := api.Do(ctx, http.MethodGet, fmt.Sprintf("%s&limit=%d", behind.CallsPath, i.Limit), nil, &page); err != nil {
		return err
	}
	return printList(env.stdout, i.Output, page.Items, callColumns...)
}
