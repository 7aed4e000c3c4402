package store

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/jackc/pgx/v5"
)

// InvitationsTo returns the ids of the open invitations to an address.
func InvitationsTo(ctx context.Context, tx pgx.Tx, tenant, email string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM invitations WHERE tenant_id = $1 AND lower(email) = lower($2)`, tenant, email)
	if err != nil {
		return nil, wrap("find invitations", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return ids, wrap("find invitations", err)
}

// MemberAddress returns the address of a member, who may have been removed.
func MemberAddress(ctx context.Context, tx pgx.Tx, tenant, id string) (email string, err error) {
	err = tx.QueryRow(ctx, `SELECT email FROM members WHERE tenant_id = $1 AND id = $2`, tenant, id).Scan(&email)
	return email, wrap("find member", err)
}

// DeleteMails deletes mails of a tenant, with what is left of those that were delivered: that of these keys, and those whose
// keys start with a prefix.
func DeleteMails(ctx context.Context, tx pgx.Tx, tenant string, keys []string, prefix string) (int, error) {
	tag, err := tx.Exec(ctx, `DELETE FROM notify_outbox WHERE tenant_id = $1 AND (key = ANY ($2) OR ($3 <> '' AND starts_with(key, $3)))`, tenant, list(keys), prefix)
	return int(tag.RowsAffected()), wrap("delete mails", err)
}

// EraseTitles empties the titles of a member's personal access tokens.
func EraseTitles(ctx context.Context, tx pgx.Tx, tenant, member string) (int, error) {
	tag, err := tx.Exec(ctx, `UPDATE tokens SET title = '' WHERE tenant_id = $1 AND member_id = $2`, tenant, member)
	return int(tag.RowsAffected()), wrap("erase titles of tokens", err)
}

// CountHistory returns how many events a member has caused or is the subject of, how many of them have a reason in words,
// and how many titles of tokens are in them.
func CountHistory(ctx context.Context, tx pgx.Tx, tenant, member string) (events, reasons, titles int, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE actor AND reason <> ''), count(*) FILTER (WHERE type = 'identity.v1.TokenIssued')
		FROM (SELECT meta ->> 'actor' = 'member:' || $2 AS actor, coalesce(meta ->> 'reason', '') AS reason, type FROM events
			WHERE tenant_id = $1 AND (meta ->> 'actor' = 'member:' || $2 OR (stream_type = 'member' AND stream_id = $2)
				OR (stream_type = 'token' AND stream_id IN (SELECT id FROM tokens WHERE member_id = $2)))) h`, tenant, member).Scan(&events, &reasons, &titles)
	return events, reasons, titles, wrap("count events", err)
}

// Person is whose personal data is erased from stored answers.
type Person struct {
	// IDs are those of the objects that are the person's: the member, the account, invitations.
	IDs []string
	// AccountName is the name of the account whose contact is erased.
	AccountName string
	Email       string
}

// EraseAnswers empties a person's names and addresses in the answers that are kept for repeated commands of this tenant, and of
// the installation where the transaction sees all tenants. It returns the number of answers.
func EraseAnswers(ctx context.Context, tx pgx.Tx, tenant string, p Person) (int, error) {
	patterns := []string{}
	for _, text := range append(append([]string{}, p.IDs...), p.Email, p.AccountName) {
		if text != "" {
			patterns = append(patterns, "%"+likeEscaper.Replace(inJSON(text))+"%")
		}
	}
	rows, err := tx.Query(ctx, `SELECT tenant_id, key, subject, response FROM commands WHERE tenant_id IN ($1, '*') AND response::text ILIKE ANY ($2)`, tenant, patterns)
	if err != nil {
		return 0, wrap("find stored answers", err)
	}
	type answer struct {
		Tenant, Key, Subject string
		Response             json.RawMessage
	}
	answers, err := pgx.CollectRows(rows, pgx.RowToStructByPos[answer])
	if err != nil {
		return 0, wrap("find stored answers", err)
	}
	erased := 0
	for _, a := range answers {
		var value any
		if err := json.Unmarshal(a.Response, &value); err != nil {
			return erased, wrap("read stored answer", err)
		}
		if !p.erase(value) {
			continue
		}
		response, err := json.Marshal(value)
		if err != nil {
			return erased, wrap("write stored answer", err)
		}
		if _, err := tx.Exec(ctx, `UPDATE commands SET response = $4 WHERE tenant_id = $1 AND key = $2 AND subject = $3`, a.Tenant, a.Key, a.Subject, json.RawMessage(response)); err != nil {
			return erased, wrap("write stored answer", err)
		}
		erased++
	}
	return erased, nil
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// inJSON returns a text as it stands in a JSON string.
func inJSON(text string) string {
	encoded, err := json.Marshal(text)
	if err != nil {
		return text // every string can be encoded
	}
	return strings.Trim(string(encoded), `"`)
}

var personalFields = []string{"displayName", "email", "billingEmail"}

// erase empties what is the person's in a JSON value, and says whether there was anything.
func (p Person) erase(value any) bool {
	erased := false
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			erased = p.erase(item) || erased
		}
	case map[string]any:
		for _, name := range personalFields {
			if text, ok := v[name].(string); ok && text != "" && (p.owns(v) || (p.Email != "" && strings.EqualFold(text, p.Email))) {
				v[name], erased = "", true
			}
		}
		if p.AccountName != "" && v["kind"] == "Account" {
			erased = p.eraseChange(v) || erased
		}
		for _, item := range v {
			erased = p.erase(item) || erased
		}
	}
	return erased
}

func (p Person) owns(object map[string]any) bool {
	for _, id := range p.IDs {
		if object["id"] == id {
			return true
		}
	}
	return false
}

// eraseChange empties the contact in what applying the account's document has answered.
func (p Person) eraseChange(change map[string]any) bool {
	metadata, _ := change["metadata"].(map[string]any)
	if metadata["name"] != p.AccountName {
		return false
	}
	erased := false
	for _, side := range []string{"before", "after"} {
		if spec, ok := change[side].(map[string]any); ok && spec["billingEmail"] != nil && spec["billingEmail"] != "" {
			spec["billingEmail"], erased = "", true
		}
	}
	return erased
}
