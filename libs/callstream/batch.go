package callstream

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/received"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

// MeterCalls is the meter that counts calls: every record carries it, see Units.
const MeterCalls = "calls"

// QuantityDecimals is the largest number of digits after the point of a quantity.
const QuantityDecimals = 12

// MaxCalls is the most calls of one batch: consumers apply a batch as a whole.
const MaxCalls = 10_000

// MaxOpen is the most calls that a batch lists as going on.
const MaxOpen = 50_000

// maxName bounds names and ids in bytes.
const maxName = 255

// Message is one message of the stream.
type Message struct {
	Sequence uint64
	// Received is when the stream took it in.
	Received time.Time
	// Batch is what it says; nil when Refused is set.
	Batch *callsv1.CallBatch
	// Refused says why the message cannot be used: it is no batch, or a batch that contradicts itself.
	Refused error
	// Size in bytes.
	Size int
	// Pending counts the messages that follow it already.
	Pending uint64
}

// Range returns the sequence numbers of a batch that has calls.
func Range(b *callsv1.CallBatch) received.Range {
	return received.Range{First: b.GetFirstSeq(), Last: b.GetFirstSeq() + uint64(b.GetCount()) - 1}
}

// ReasonCode returns the code of a reason, as in "free_plan"; it is empty for a billable call.
func ReasonCode(r callsv1.Reason) string {
	if r == callsv1.Reason_REASON_UNSPECIFIED {
		return ""
	}
	name, known := callsv1.Reason_name[int32(r)]
	if !known { // written by a newer gateway
		return "reason_" + strconv.Itoa(int(r))
	}
	return strings.ToLower(strings.TrimPrefix(name, "REASON_"))
}

// Units returns what a call counts for on the meter MeterCalls.
func Units(c *callsv1.CallRecord) (money.Decimal, error) {
	if c.GetCallUnits() == "" {
		return money.Int(1), nil
	}
	return money.ParseScale(c.GetCallUnits(), QuantityDecimals)
}

// Decode reads and checks a message of a partition.
func Decode(partition int, data []byte) (*callsv1.CallBatch, error) {
	var b callsv1.CallBatch
	if err := proto.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("the message is not a calls.v1.CallBatch: %w", err)
	}
	if err := check(partition, &b); err != nil {
		return nil, err
	}
	return &b, nil
}

func check(partition int, b *callsv1.CallBatch) error {
	if err := checkName("gateway", b.GetGateway(), true); err != nil {
		return err
	}
	switch {
	case bus.Partition(b.GetGateway()) != partition:
		return fmt.Errorf("the gateway %q writes to partition %d, not to %d", b.GetGateway(), bus.Partition(b.GetGateway()), partition)
	case b.GetBoot() == 0 || b.GetBoot() > math.MaxInt64:
		return fmt.Errorf("the boot %d is not a counter from 1", b.GetBoot())
	case int(b.GetCount()) != len(b.GetCalls()):
		return fmt.Errorf("the batch says that it has %d calls and has %d", b.GetCount(), len(b.GetCalls()))
	case len(b.GetCalls()) > MaxCalls:
		return fmt.Errorf("the batch has %d calls; at most %d are taken", len(b.GetCalls()), MaxCalls)
	}
	if err := checkOpen(b); err != nil || len(b.GetCalls()) == 0 {
		return err
	}
	if err := Range(b).Check(); err != nil {
		return err
	}
	for i, c := range b.GetCalls() {
		if want := b.GetFirstSeq() + uint64(i); c.GetSeq() != want {
			return fmt.Errorf("calls[%d] has the sequence number %d; want %d, calls are contiguous", i, c.GetSeq(), want)
		}
		if err := checkCall(c); err != nil {
			return fmt.Errorf("calls[%d]: %w", i, err)
		}
	}
	return nil
}

func checkOpen(b *callsv1.CallBatch) error {
	open := b.GetOpenSeqs()
	if len(open) > MaxOpen {
		return fmt.Errorf("the batch has %d open_seqs; at most %d are taken", len(open), MaxOpen)
	}
	before := uint64(0)
	for i, seq := range open {
		if seq <= before || seq > received.Max {
			return fmt.Errorf("open_seqs[%d] is %d, after %d; they ascend from 1 to %d", i, seq, before, uint64(received.Max))
		}
		before = seq
	}
	return nil
}

func checkCall(c *callsv1.CallRecord) error {
	for _, f := range []struct{ name, value string }{
		{"tenant", c.GetTenant()}, {"subscription", c.GetSubscription()}, {"api", c.GetApi()},
		{"api_version", c.GetApiVersion()}, {"plan", c.GetPlan()},
	} {
		if err := checkName(f.name, f.value, false); err != nil {
			return err
		}
	}
	switch {
	case c.GetTenant() == principal.AllTenants:
		return errors.New("the tenant is * which stands for all")
	case c.GetSubscription() != "" && c.GetTenant() == "":
		return errors.New("the call has a subscription and no tenant")
	case c.GetCompletedAt() <= 0:
		return fmt.Errorf("completed_at is %d; want nanoseconds since the Unix epoch", c.GetCompletedAt())
	case c.GetBillable() != (c.GetReason() == callsv1.Reason_REASON_UNSPECIFIED):
		return errors.New("a call that is not billable has a reason, and only such a one")
	}
	units, err := Units(c)
	if err != nil {
		return fmt.Errorf("call_units: %w", err)
	}
	if units.Sign() < 0 {
		return fmt.Errorf("call_units: %s is negative", units)
	}
	return checkQuantities(c)
}

func checkQuantities(c *callsv1.CallRecord) error {
	for i, q := range c.GetQuantities() {
		if err := checkName("meter", q.GetMeter(), true); err != nil {
			return fmt.Errorf("quantities[%d]: %w", i, err)
		}
		if q.GetMeter() == MeterCalls {
			return fmt.Errorf("quantities[%d]: the meter %s is given by call_units", i, MeterCalls)
		}
		for _, before := range c.GetQuantities()[:i] {
			if before.GetMeter() == q.GetMeter() {
				return fmt.Errorf("quantities[%d]: the meter %q is there twice", i, q.GetMeter())
			}
		}
		value, err := money.ParseScale(q.GetValue(), QuantityDecimals)
		if err != nil {
			return fmt.Errorf("quantities[%d]: %w", i, err)
		}
		if value.Sign() < 0 {
			return fmt.Errorf("quantities[%d]: %s is negative", i, value)
		}
	}
	for i, s := range c.GetLeaseSpends() {
		if err := checkName("lease", s.GetLease(), true); err != nil {
			return fmt.Errorf("lease_spends[%d]: %w", i, err)
		}
		if s.GetUnits() < 0 {
			return fmt.Errorf("lease_spends[%d]: %d units are negative", i, s.GetUnits())
		}
	}
	return nil
}

func checkName(field, value string, required bool) error {
	switch {
	case value == "" && required:
		return fmt.Errorf("%s is empty", field)
	case len(value) > maxName:
		return fmt.Errorf("%s is %d bytes long; at most %d are taken", field, len(value), maxName)
	case strings.ContainsRune(value, 0):
		return fmt.Errorf("%s contains the character U+0000", field)
	}
	return nil
}
