-- The statements of the delivery queue; publisher/queue.py is their only reader.
-- Times are the database's: a due time is compared with and computed from now(), never a worker's clock.

-- name: number
INSERT INTO sequences AS s (account_id, resource, value)
SELECT account_id, resource, count
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS new (account_id, resource, count)
ORDER BY account_id, resource
ON CONFLICT (account_id, resource) DO UPDATE SET value = s.value + excluded.value
RETURNING account_id, resource, value

-- name: lease_end
SELECT now(), now() + make_interval(secs => $1)

-- name: enqueue_public
-- Reads endpoints (owner: publisher/endpoints.py) here, so that a hundred thousand rows need not leave the database.
WITH message AS (
    INSERT INTO messages (account_id, id, type, body, traceparent) VALUES ('', $1, $2, $3, $4)
)
INSERT INTO deliveries (account_id, id, endpoint_id, message_id, state, due_at)
SELECT account_id, $5 || left(replace(gen_random_uuid()::text, '-', ''), 20), id, $1, 'pending', now()
FROM endpoints
WHERE status = 'active' AND events && $6::text[]

-- name: is_wanted
SELECT EXISTS (SELECT FROM endpoints WHERE status = 'active' AND events && $1::text[])

-- name: claim
WITH due AS (
    SELECT id FROM deliveries
    WHERE due_at <= now()
    ORDER BY due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE deliveries AS d
    SET state = 'leased', lease = $2, due_at = now() + make_interval(secs => $3)
    FROM due
    WHERE d.id = due.id
    RETURNING d.account_id, d.id, d.endpoint_id, d.message_id, d.attempts, d.created_at, d.first_try_at
)
SELECT c.account_id, c.id, c.endpoint_id, c.message_id, c.attempts,
       coalesce(extract(epoch FROM now() - c.first_try_at), 0)::float8 AS tried_for,
       extract(epoch FROM now() - c.created_at)::float8 AS age,
       m.type, m.body, m.traceparent
FROM claimed c JOIN messages m ON m.id = c.message_id

-- name: record
WITH outcome AS (
    SELECT *
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::float8[], $5::smallint[], $6::text[], $7::smallint[],
                $8::integer[], $9::text[], $10::float8[])
         AS o (delivery_id, lease, state, delay, number, result, status, duration_ms, response, attempted_at)
), updated AS (
    UPDATE deliveries AS d
    SET state = o.state,
        lease = NULL,
        attempts = o.number,
        last_result = o.result,
        due_at = CASE WHEN o.state = 'retry' THEN now() + make_interval(secs => o.delay) END,
        first_try_at = coalesce(d.first_try_at, now() - make_interval(secs => o.duration_ms / 1000.0)),
        ended_at = CASE WHEN o.state <> 'retry' THEN now() END
    FROM outcome o
    WHERE d.id = o.delivery_id AND d.lease = o.lease
    RETURNING d.account_id, d.id, o.number, o.result, o.status, o.duration_ms, o.response, o.attempted_at
)
INSERT INTO attempts (account_id, delivery_id, number, result, status, duration_ms, response, attempted_at)
SELECT account_id, id, number, result, status, duration_ms, response, to_timestamp(attempted_at) FROM updated
RETURNING delivery_id

-- name: release
UPDATE deliveries
SET state = CASE WHEN attempts = 0 THEN 'pending' ELSE 'retry' END, lease = NULL, due_at = now()
WHERE id = ANY ($1::text[]) AND lease = ANY ($2::bigint[])

-- name: cancel
UPDATE deliveries
SET state = 'cancelled', lease = NULL, due_at = NULL, ended_at = now()
WHERE id = ANY ($1::text[]) AND lease = $2
RETURNING id

-- name: states
SELECT state, count(*) FROM deliveries GROUP BY state
