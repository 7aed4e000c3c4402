package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/signintech/gopdf"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"

	"github.com/tollgate/tollgate/services/billing/internal/app"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// Positions and sizes on an A4 page, in points.
const (
	pageLeft, pageRight = 56.0, 539.0
	pageTop, pageBottom = 56.0, 760.0
	lineHeight          = 14.0
	regular, bold       = "regular", "bold"
)

// columns of the lines: where text begins, or where numbers end.
const (
	columnText     = pageLeft + 24
	columnCalls    = 380.0
	columnQuantity = 460.0
	columnAmount   = pageRight
)

// sheet writes a PDF from the top to the bottom. After an error it does nothing more.
type sheet struct {
	pdf gopdf.GoPdf
	y   float64
	err error
}

// printed returns an invoice as PDF (ISO 32000), for people: who owes whom how much for what, and the proof in one line. The same
// invoice gives the same bytes.
func printed(s app.Statement) ([]byte, error) {
	p := &sheet{y: pageTop}
	p.pdf.Start(gopdf.Config{PageSize: *gopdf.PageSizeA4})
	p.err = errors.Join(p.pdf.AddTTFFontData(regular, goregular.TTF), p.pdf.AddTTFFontData(bold, gobold.TTF))
	p.pdf.SetInfo(gopdf.PdfInfo{Title: "Invoice " + s.Number, Author: s.Seller.Title, Creator: "Tollgate", CreationDate: *s.FinalizedAt})
	p.pdf.AddPage()
	p.head(s)
	p.lines(s)
	p.total(s)
	p.proof(s)
	p.foot(s)
	if p.err != nil {
		return nil, fmt.Errorf("print invoice %s: %w", s.Number, p.err)
	}
	body, err := p.pdf.GetBytesPdfReturnErr()
	if err != nil {
		return nil, fmt.Errorf("print invoice %s: %w", s.Number, err)
	}
	return body, nil
}

// text writes at a place of the current line; one that is wider than there is room for is cut.
func (p *sheet) text(x, room float64, font string, size float64, text string) {
	if p.err == nil {
		p.err = p.pdf.SetFont(font, "", size)
	}
	if p.err != nil || text == "" {
		return
	}
	for runes := []rune(text); room > 0 && len(runes) > 1; {
		width, err := p.pdf.MeasureTextWidth(text)
		if err != nil || width <= room {
			p.err = err
			break
		}
		runes = runes[:len(runes)-1]
		text = string(runes) + "…"
	}
	p.pdf.SetXY(x, p.y)
	if p.err == nil {
		p.err = p.pdf.Cell(nil, text)
	}
}

// number writes text that ends at a place.
func (p *sheet) number(right float64, font string, size float64, text string) {
	if p.err == nil {
		p.err = p.pdf.SetFont(font, "", size)
	}
	if p.err != nil {
		return
	}
	width, err := p.pdf.MeasureTextWidth(text)
	p.err = err
	p.text(right-width, 0, font, size, text)
}

func (p *sheet) rule() {
	p.pdf.SetLineWidth(0.5)
	p.pdf.Line(pageLeft, p.y-4, pageRight, p.y-4)
}

// room begins another page when there are not so many lines left.
func (p *sheet) room(lines float64) (began bool) {
	if p.y+lines*lineHeight <= pageBottom {
		return false
	}
	p.pdf.AddPage()
	p.y = pageTop
	return true
}

func (p *sheet) head(s app.Statement) {
	p.text(pageLeft, 300, bold, 20, "Invoice")
	p.number(pageRight, bold, 14, s.Number)
	p.y += 2.5 * lineHeight
	for _, row := range [][2]string{
		{"From", p.titleOf(s.Seller)},
		{"To", p.titleOf(s.Buyer)},
		{"Country", s.Buyer.Country},
		{"Date", date(*s.FinalizedAt)},
		{"Subscription", s.Subscription},
		{"Period", date(s.PeriodStart) + " to " + date(s.PeriodEnd) + " (UTC, the end is not part of it)"},
	} {
		if row[1] == "" {
			continue
		}
		p.text(pageLeft, 90, regular, 9, row[0])
		p.text(pageLeft+90, pageRight-pageLeft-90, regular, 10, row[1])
		p.y += lineHeight
	}
	p.y += lineHeight
	p.titles(s.Currency)
}

// titleOf returns a party's title, or its name in place of one in a script that the fonts do not have: they have Latin, Greek and
// Cyrillic letters.
func (p *sheet) titleOf(party store.Party) string {
	if p.err != nil {
		return ""
	}
	font, err := sfnt.Parse(goregular.TTF)
	if err != nil {
		p.err = fmt.Errorf("read the font: %w", err)
		return ""
	}
	var buffer sfnt.Buffer
	for _, r := range party.Title {
		if glyph, err := font.GlyphIndex(&buffer, r); err != nil || glyph == 0 {
			return fmt.Sprintf("%s (its title is in a script that cannot be printed here)", cmp.Or(party.Name, party.ID))
		}
	}
	return party.Title
}

// date shows the time too, when it is not midnight.
func date(t time.Time) string {
	if t = t.UTC(); t.Equal(t.Truncate(24 * time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return t.Format("2006-01-02 15:04:05")
}

func (p *sheet) titles(currency string) {
	p.text(columnText, 200, bold, 9, "Charge")
	p.number(columnCalls, bold, 9, "Calls")
	p.number(columnQuantity, bold, 9, "Quantity")
	p.number(columnAmount, bold, 9, "Amount "+currency)
	p.y += 1.5 * lineHeight
	p.rule()
}

func (p *sheet) lines(s app.Statement) {
	for _, l := range s.Lines {
		if p.room(2) {
			p.titles(s.Currency)
		}
		p.text(pageLeft, 20, regular, 9, fmt.Sprint(l.Line))
		p.text(columnText, columnCalls-columnText-60, regular, 10, l.Price)
		if l.Meter != "" {
			p.number(columnCalls, regular, 9, fmt.Sprint(l.Calls))
		}
		p.number(columnQuantity, regular, 9, l.Quantity)
		p.number(columnAmount, regular, 10, l.Amount)
		p.y += lineHeight
		p.text(columnText, pageRight-columnText, regular, 7.5,
			fmt.Sprintf("plan %s, version %d, %s to %s", l.Plan, l.PlanVersion, date(l.PeriodStart), date(l.PeriodEnd)))
		p.y += lineHeight
	}
}

func (p *sheet) total(s app.Statement) {
	p.room(3)
	p.y += 6
	p.rule()
	p.text(columnText, 200, bold, 11, "Total")
	p.number(columnAmount, bold, 11, s.Total+" "+s.Currency)
	p.y += 3 * lineHeight
}

// proof prints the four counters that had to agree.
func (p *sheet) proof(s app.Statement) {
	var evidence struct{ Answered, Stored, Landed, Metered uint64 }
	if err := json.Unmarshal(s.Evidence, &evidence); err != nil {
		p.err = errors.Join(p.err, fmt.Errorf("read the evidence: %w", err))
		return
	}
	p.room(3)
	p.text(pageLeft, 0, bold, 9, "Proof")
	p.y += lineHeight
	p.text(pageLeft, pageRight-pageLeft, regular, 8, fmt.Sprintf("Calls of the period: %d answered by the gateways, %d stored, %d landed, %d metered.",
		evidence.Answered, evidence.Stored, evidence.Landed, evidence.Metered))
	p.y += lineHeight
	p.text(pageLeft, pageRight-pageLeft, regular, 8, "The invoice became final because these agree. Each line leads to its calls: tollgate invoices calls "+s.Number+" LINE")
}

// foot numbers the pages.
func (p *sheet) foot(s app.Statement) {
	pages := p.pdf.GetNumberOfPages()
	for n := 1; n <= pages && p.err == nil; n++ {
		if p.err = p.pdf.SetPage(n); p.err == nil {
			p.y = 800
			p.text(pageLeft, 200, regular, 8, s.Number)
			p.number(pageRight, regular, 8, fmt.Sprintf("page %d of %d", n, pages))
		}
	}
}
