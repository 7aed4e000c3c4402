package app

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/audit"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// AuditStates returns how the audit shows what was before and after, by type of stream. A quota's stream has one event.
func AuditStates() map[string]audit.State {
	return map[string]audit.State{"gateway": audit.Of(auditedGateway.evolve)}
}

// auditedGateway is what the log says of a gateway.
type auditedGateway struct {
	WaivedUntil time.Time
	OpenGaps    []auditedGap
}

type auditedGap struct{ Boot, FirstSeq, LastSeq uint64 }

func (g auditedGateway) evolve(event proto.Message) auditedGateway {
	switch e := event.(type) {
	case *meteringv1.GatewayWaived:
		g.WaivedUntil = time.Unix(0, e.GetUntil()).UTC()
	case *meteringv1.GapOpened:
		g.OpenGaps = append(slices.Clip(g.OpenGaps), auditedGap{e.GetBoot(), e.GetFirstSeq(), e.GetLastSeq()})
	case *meteringv1.GapClosed:
		closed := auditedGap{e.GetBoot(), e.GetFirstSeq(), e.GetLastSeq()}
		g.OpenGaps = slices.DeleteFunc(slices.Clone(g.OpenGaps), func(open auditedGap) bool { return open == closed })
	}
	return g
}
