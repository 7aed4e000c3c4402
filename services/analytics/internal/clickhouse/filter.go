package clickhouse

import (
	"strconv"
	"strings"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// Filter says which calls are meant. Empty fields do not matter.
type Filter struct {
	Span
	// Equal lists what columns must be one of.
	Equal []Equal
	// Status is a status code; StatusClass its first digit.
	Status, StatusClass int
	// Billable is true or false, or nil for both.
	Billable *bool
	// Meter that the call carries; every call carries "calls".
	Meter string
	// MinMicros and MaxMicros bound the whole latency; MaxMicros is beyond the largest, 0 for none.
	MinMicros, MaxMicros uint64
	// CallPrefix begins the printed identity.
	CallPrefix string
	// Words that must all be in the path or in the error's reason, in lower case: see Words.
	Words []string
	// Landed is the places in the stream that the calls came from; nil for all.
	Landed []Place
	// After is the last call of the page before.
	After *Cursor
	// Ascending lists the oldest first.
	Ascending bool
	Limit     int
}

// Equal says that a dimension is one of values.
type Equal struct {
	Dimension Dimension
	Values    []string
}

// Place is a span of messages of a partition of the stream: those after a sequence, up to another one.
type Place struct {
	Partition   int
	After, UpTo uint64
}

// Cursor is a place in the list.
type Cursor struct {
	CompletedAt int64
	Gateway     string
	Boot, Seq   uint64
}

// Words divides a text into the words that an index knows: everything that is not a letter or a digit of ASCII divides, as in
// ClickHouse's function tokens; bytes of other characters belong to words.
func Words(text string) []string {
	return strings.FieldsFunc(lower(text), func(r rune) bool {
		return r < 0x80 && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
}

// lower is ClickHouse's function of that name, which knows ASCII alone.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

func (f Filter) conditions() []condition {
	all := []condition{f.condition()}
	for i, e := range f.Equal {
		name := "equal" + strconv.Itoa(i)
		all = append(all, where(e.Dimension.sql+" IN {"+name+":Array(String)}", driver.Named(name, e.Values)))
	}
	if f.Status != 0 {
		all = append(all, where("status = {status:UInt16}", driver.Named("status", f.Status)))
	}
	if f.StatusClass != 0 {
		all = append(all, where("intDiv(status, 100) = {class:UInt16}", driver.Named("class", f.StatusClass)))
	}
	if f.Billable != nil {
		all = append(all, where("billable = {billable:Bool}", driver.Named("billable", *f.Billable)))
	}
	if f.Meter != "" && f.Meter != meterCalls {
		all = append(all, where("has(meters, {meter:String})", driver.Named("meter", f.Meter)))
	}
	if f.MinMicros > 0 {
		all = append(all, where("total_micros >= {minMicros:UInt64}", driver.Named("minMicros", f.MinMicros)))
	}
	if f.MaxMicros > 0 {
		all = append(all, where("total_micros < {maxMicros:UInt64}", driver.Named("maxMicros", f.MaxMicros)))
	}
	if f.CallPrefix != "" {
		all = append(all, where("startsWith(call, {callPrefix:String})", driver.Named("callPrefix", f.CallPrefix)))
	}
	for i, word := range f.Words {
		name := "word" + strconv.Itoa(i)
		all = append(all, where("hasToken(lower(concat(path, ' ', error_reason)), {"+name+":String})", driver.Named(name, word)))
	}
	if f.Landed != nil {
		all = append(all, landed(f.Landed))
	}
	if f.After != nil {
		all = append(all, f.after())
	}
	return all
}

func (f Filter) after() condition {
	sign := "<"
	if f.Ascending {
		sign = ">"
	}
	return where("completed_at "+sign+" fromUnixTimestamp64Nano({at:Int64}, 'UTC') OR completed_at = fromUnixTimestamp64Nano({at:Int64}, 'UTC') AND (gateway, boot, seq) "+sign+
		" ({gateway:String}, {boot:UInt64}, {seq:UInt64})", driver.Named("at", f.After.CompletedAt), driver.Named("gateway", f.After.Gateway),
		driver.Named("boot", f.After.Boot), driver.Named("seq", f.After.Seq))
}

func landed(places []Place) condition {
	parts, values := []string{"0"}, []any(nil)
	for i, p := range places {
		n := strconv.Itoa(i)
		parts = append(parts, "stream_partition = {partition"+n+":UInt8} AND stream_sequence > {after"+n+":UInt64} AND stream_sequence <= {upTo"+n+":UInt64}")
		values = append(values, driver.Named("partition"+n, p.Partition), driver.Named("after"+n, p.After), driver.Named("upTo"+n, p.UpTo))
	}
	return where(strings.Join(parts, " OR "), values...)
}
