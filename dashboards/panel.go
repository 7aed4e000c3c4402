package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

type query = cog.Builder[variants.Dataquery]

type panel = cog.Builder[dashboard.Panel]

// The sizes of panels, on a grid of 24 columns.
const (
	half, third, quarter, full = 12, 8, 6, 24
	height                     = 8
)

// chart draws values over time; stacked adds them up.
func chart(title, description, unit string, width uint32, stacked bool, q query) panel {
	p := timeseries.NewPanelBuilder().Title(title).Description(description).Unit(unit).Height(height).Span(width).Min(0).
		FillOpacity(10).LineWidth(1).ShowPoints(common.VisibilityModeAuto).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		WithTarget(q)
	if stacked {
		p = p.Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A")).FillOpacity(40)
	}
	return p
}

// number shows one value.
func number(title, description, unit string, width uint32, q query) panel {
	return stat.NewPanelBuilder().Title(title).Description(description).Unit(unit).Height(4).Span(width).GraphMode(common.BigValueGraphModeNone).Orientation(common.VizOrientationAuto).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).WithTarget(q)
}

// list shows rows. units gives columns other units than none.
func list(title, description string, width uint32, units map[string]string, q query) panel {
	p := table.NewPanelBuilder().Title(title).Description(description).Height(height + 2).Span(width).ShowHeader(true).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{"sum"})).WithTarget(q)
	for _, column := range sorted(units) {
		p = p.OverrideByName(column, []dashboard.DynamicConfigValue{{Id: "unit", Value: units[column]}})
	}
	return p
}

// The units of Grafana's list that are used.
const (
	count   = "short"
	share   = "percentunit"
	octets  = "decbytes"
	micros  = "µs"
	seconds = "s"
	perSec  = "reqps"
	none    = "none"
)
