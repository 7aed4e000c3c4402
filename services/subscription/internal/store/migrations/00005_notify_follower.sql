-- +goose Up

-- Who is told of transitions has a follower of its own, which goes on from where the one was that did it before. A new database has
-- neither.
-- +goose StatementBegin
DO $$
BEGIN
    IF to_regclass('follow_offset') IS NOT NULL THEN
        INSERT INTO follow_offset (name, log, epoch, position, event_id)
            SELECT 'subscription-notify', log, epoch, position, event_id FROM follow_offset
            WHERE name = 'subscription-subscription' AND log = 'subscription' ON CONFLICT DO NOTHING;
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
SELECT 1;
