package app

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"html/template"
	"strings"
	"text/tabwriter"

	"github.com/tollgate/tollgate/libs/notify"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
)

// maxAttachment bounds the CSV that comes with a report; a larger one is left out, and said so.
const maxAttachment = 1 << 20

var reportHTML = template.Must(template.New("report").Parse(`<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>{{.Title}}</title></head><body style="font-family: sans-serif">
<h1 style="font-size: 1.2em">{{.Title}}</h1>
{{with .Description}}<p>{{.}}</p>{{end}}
<p>{{.Period}}</p>
<table style="border-collapse: collapse">
<tr>{{range .Head}}<th style="text-align: left; padding: 4px 12px; border-bottom: 1px solid #888">{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range $i, $cell := .}}<td style="padding: 4px 12px; {{if $i}}text-align: right{{end}}">{{$cell}}</td>{{end}}</tr>
{{else}}<tr><td style="padding: 4px 12px">There were no calls.</td></tr>
{{end}}</table>
</body></html>
`))

// page is what a report shows.
type page struct {
	Title, Description, Period string
	Head                       []string
	Rows                       [][]string
}

func newPage(name string, spec *analyticsv1.ReportSpec, t ReportTable) page {
	p := page{Title: spec.GetTitle(), Description: spec.GetDescription()}
	if p.Title == "" {
		p.Title = name
	}
	p.Period = fmt.Sprintf("From %s to %s (%s).", t.From.Format("2006-01-02 15:04"), t.To.Format("2006-01-02 15:04"), zoneOf(spec))
	by := spec.GetBy()
	if by == "" {
		by = "all"
	}
	p.Head = []string{by}
	for _, m := range reportMetrics(spec) {
		head := m
		if unit := t.Units[m]; unit != "calls" {
			head += " (" + unit + ")"
		}
		p.Head = append(p.Head, head)
	}
	for _, r := range t.Rows {
		key := r.Key.Name
		if key == "" {
			key = r.Key.ID
		}
		if key == "" && spec.GetBy() != "" {
			key = "(none)"
		}
		cells := []string{key}
		for _, m := range reportMetrics(spec) {
			value := "–"
			if v := r.Values[m]; v != nil {
				value = *v
			}
			cells = append(cells, value)
		}
		p.Rows = append(p.Rows, cells)
	}
	return p
}

// reportMail writes a report as a mail, in text and HTML, with its table as CSV.
func reportMail(name string, spec *analyticsv1.ReportSpec, t ReportTable) (notify.Mail, error) {
	p := newPage(name, spec, t)
	var html bytes.Buffer
	if err := reportHTML.Execute(&html, p); err != nil {
		return notify.Mail{}, err
	}
	mail := notify.Mail{
		To: spec.GetMail(), Subject: oneLine(p.Title + ", " + t.From.Format("2006-01-02")), Text: p.text(), HTML: html.String(),
	}
	attachment, err := p.csv()
	if err != nil {
		return mail, err
	}
	if len(attachment) > maxAttachment {
		mail.Text += "\nThe table is too large to be attached.\n"
		return mail, nil
	}
	mail.Attachments = []notify.Attachment{{Name: name + "-" + t.From.Format("2006-01-02") + ".csv", MediaType: "text/csv", Content: attachment}}
	return mail, nil
}

func (p page) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", p.Title)
	if p.Description != "" {
		fmt.Fprintf(&b, "%s\n\n", p.Description)
	}
	fmt.Fprintf(&b, "%s\n\n", p.Period)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{p.Head}, p.Rows...) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // into memory
	if len(p.Rows) == 0 {
		b.WriteString("There were no calls.\n")
	}
	return b.String()
}

func (p page) csv() ([]byte, error) {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	for i, row := range append([][]string{p.Head}, p.Rows...) {
		record := make([]string, len(row))
		for j, text := range row {
			record[j] = text
			if i > 0 && j == 0 {
				record[j] = cell(text)
			}
		}
		if err := w.Write(record); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return out.Bytes(), w.Error()
}
