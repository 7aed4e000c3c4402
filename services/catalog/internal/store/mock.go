package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

// Mocks returns the mock answers that were kept of a version; none for a version of which they were not.
func Mocks(ctx context.Context, tx pgx.Tx, version string) ([]*gatewayv1.MockAnswer, error) {
	var encoded []byte
	err := tx.QueryRow(ctx, `SELECT answers FROM mocks WHERE api_version_id = $1`, version).Scan(&encoded)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("read mock answers", err)
	}
	var d gatewayv1.APIDocument
	if err := proto.Unmarshal(encoded, &d); err != nil {
		return nil, fmt.Errorf("decode mock answers of API version %s: %w", version, err)
	}
	return d.GetMocks(), nil
}

// KeepMocks keeps the mock answers of a version.
func KeepMocks(ctx context.Context, tx pgx.Tx, tenant, version string, answers []*gatewayv1.MockAnswer) error {
	encoded, err := proto.Marshal(&gatewayv1.APIDocument{Mocks: answers})
	if err != nil {
		return fmt.Errorf("encode mock answers: %w", err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO mocks (api_version_id, tenant_id, answers) VALUES ($1, $2, $3)
		ON CONFLICT (api_version_id) DO UPDATE SET answers = excluded.answers`, version, tenant, encoded)
	return wrap("keep mock answers", err)
}
