package app

import (
	"bytes"
	"fmt"
	"math/big"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// parquetCall is a call as it is in a Parquet file. Times are nanoseconds since the Unix epoch, quantities exact decimals.
type parquetCall struct {
	Call           string            `parquet:"call"`
	CompletedAt    int64             `parquet:"completed_at,timestamp(nanosecond),delta"`
	StartedAt      int64             `parquet:"started_at,timestamp(nanosecond),delta"`
	API            string            `parquet:"api,dict"`
	APIID          string            `parquet:"api_id,dict"`
	APIVersion     string            `parquet:"api_version,dict"`
	APIVersionID   string            `parquet:"api_version_id,dict"`
	Operation      string            `parquet:"operation,dict"`
	Account        string            `parquet:"account,dict"`
	AccountID      string            `parquet:"account_id,dict"`
	Application    string            `parquet:"application,dict"`
	ApplicationID  string            `parquet:"application_id,dict"`
	Credential     string            `parquet:"credential,dict"`
	Subscription   string            `parquet:"subscription,dict"`
	SubscriptionID string            `parquet:"subscription_id,dict"`
	Product        string            `parquet:"product,dict"`
	Plan           string            `parquet:"plan,dict"`
	PlanVersion    uint32            `parquet:"plan_version"`
	Method         string            `parquet:"method,dict"`
	Host           string            `parquet:"host,dict"`
	PathTemplate   string            `parquet:"path_template,dict"`
	Path           string            `parquet:"path"`
	Status         uint32            `parquet:"status"`
	Responder      string            `parquet:"responder,dict"`
	ErrorReason    string            `parquet:"error_reason,dict"`
	TotalMicros    uint64            `parquet:"total_micros"`
	UpstreamMicros uint64            `parquet:"upstream_micros"`
	GatewayMicros  uint64            `parquet:"gateway_micros"`
	BytesIn        uint64            `parquet:"bytes_in"`
	BytesOut       uint64            `parquet:"bytes_out"`
	CacheStatus    string            `parquet:"cache_status,dict"`
	Attempts       uint32            `parquet:"attempts"`
	Target         string            `parquet:"target,dict"`
	ClientAddress  string            `parquet:"client_address,dict"`
	UserAgent      string            `parquet:"user_agent,dict"`
	TraceID        string            `parquet:"trace_id"`
	Quantities     []parquetQuantity `parquet:"quantities,list"`
	Billable       bool              `parquet:"billable"`
	Reason         string            `parquet:"reason,dict"`
}

type parquetQuantity struct {
	Meter string   `parquet:"meter,dict"`
	Value [16]byte `parquet:"value,decimal(12:38)"`
}

// parquetFile writes calls as a Parquet file, compressed with Zstandard.
func parquetFile(calls []Call) ([]byte, error) {
	rows := make([]parquetCall, len(calls))
	for i := range calls {
		var err error
		if rows[i], err = parquetRow(&calls[i]); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	w := parquet.NewGenericWriter[parquetCall](&out, parquet.Compression(&zstd.Codec{}), parquet.CreatedBy("tollgate", "", ""))
	if _, err := w.Write(rows); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func parquetRow(c *Call) (parquetCall, error) {
	row := parquetCall{
		Call: c.Call, CompletedAt: c.CompletedAt.UnixNano(), StartedAt: c.StartedAt.UnixNano(), API: c.API.Name, APIID: c.API.ID,
		APIVersion: c.APIVersion.Name, APIVersionID: c.APIVersion.ID, Operation: c.Operation, Account: c.Account.Name, AccountID: c.Account.ID,
		Application: c.Application.Name, ApplicationID: c.Application.ID, Credential: c.Credential, Subscription: c.Subscription.Name, SubscriptionID: c.Subscription.ID,
		Product: c.Product, Plan: c.Plan, PlanVersion: c.PlanVersion, Method: c.Method, Host: c.Host, PathTemplate: c.PathTemplate, Path: c.Path,
		Status: uint32(c.Status), Responder: c.Responder, ErrorReason: c.ErrorReason, TotalMicros: c.TotalMicros, UpstreamMicros: c.UpstreamMicros,
		GatewayMicros: c.GatewayMicros, BytesIn: c.BytesIn, BytesOut: c.BytesOut, CacheStatus: c.CacheStatus, Attempts: c.Attempts, Target: c.Target,
		ClientAddress: c.ClientAddress, UserAgent: c.UserAgent, TraceID: c.TraceID, Billable: c.Billable, Reason: c.Reason,
	}
	for _, q := range c.Quantities {
		value, err := parquetDecimal(q.Value)
		if err != nil {
			return row, err
		}
		row.Quantities = append(row.Quantities, parquetQuantity{q.Meter, value})
	}
	return row, nil
}

// parquetDecimal is a decimal with 12 decimals as Parquet has it: the unscaled number in two's complement, big-endian.
func parquetDecimal(text string) (out [16]byte, err error) {
	value, ok := new(big.Rat).SetString(text)
	if !ok {
		return out, fmt.Errorf("%q is not a decimal", text)
	}
	value.Mul(value, new(big.Rat).SetInt64(1_000_000_000_000))
	if !value.IsInt() || value.Num().BitLen() > 126 {
		return out, fmt.Errorf("%q has not up to 26 digits and 12 decimals", text)
	}
	unscaled := new(big.Int).Set(value.Num())
	if unscaled.Sign() < 0 {
		unscaled.Add(unscaled, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	unscaled.FillBytes(out[:])
	return out, nil
}
