-- The statements of the delivery queue and its log; publisher/queue.py is their only reader.
-- Times are the database's: a due time is compared with and computed from now(), never a worker's clock.

-- name: number
INSERT INTO sequences AS s (account_id, resource, value)
SELECT account_id, resource, count
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS new (account_id, resource, count)
ORDER BY account_id, resource
ON CONFLICT (account_id, resource) DO UPDATE SET value = s.value + excluded.value
RETURNING account_id, resource, value

-- name: lease_end
SELECT now(), clock_timestamp() + make_interval(secs => $1)

-- name: enqueue_public
-- Reads endpoints (owner: publisher/endpoints.py) here, so that a hundred thousand rows need not leave the database.
WITH message AS (
    INSERT INTO messages (account_id, id, type, body, traceparent) VALUES ('', $1, $2, $3, $4)
), wanted AS (
    SELECT account_id, $5 || left(replace(gen_random_uuid()::text, '-', ''), 20) AS id, id AS endpoint_id
    FROM endpoints
    WHERE status = 'active' AND events && $6::text[]
), turned_away AS (
    INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, reason, attempts, created_at)
    SELECT account_id, id, endpoint_id, $1, $2, 'cancelled', 'quota', 0, now()
    FROM wanted
    WHERE account_id = ANY ($7::text[])
)
INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, due_at)
SELECT account_id, id, endpoint_id, $1, $2, 'pending', now()
FROM wanted
WHERE account_id <> ALL ($7::text[])

-- name: is_wanted
SELECT EXISTS (SELECT FROM endpoints WHERE status = 'active' AND events && $1::text[])

-- name: turns
-- Steps from endpoint to endpoint through the index instead of reading every row: a pile behind one of them is one step.
WITH RECURSIVE walk AS (
    (SELECT endpoint_id, due_at, 1 AS step FROM queue WHERE endpoint_id > $1 ORDER BY endpoint_id, due_at LIMIT 1)
    UNION ALL
    SELECT later.endpoint_id, later.due_at, step + 1
    FROM walk CROSS JOIN LATERAL (
        SELECT endpoint_id, due_at FROM queue
        WHERE endpoint_id > walk.endpoint_id
        ORDER BY endpoint_id, due_at
        LIMIT 1
    ) AS later
    WHERE step < $2
)
SELECT endpoint_id, due_at <= now() AS is_due FROM walk ORDER BY step

-- name: claim
WITH turn AS (
    SELECT * FROM unnest($1::text[], $2::integer[]) AS t (endpoint_id, share)
), due AS MATERIALIZED (
    SELECT oldest.id
    FROM turn CROSS JOIN LATERAL (
        SELECT id FROM queue
        WHERE endpoint_id = turn.endpoint_id AND due_at <= now()
        ORDER BY due_at
        LIMIT turn.share
        FOR UPDATE SKIP LOCKED
    ) AS oldest
)
UPDATE queue AS q
SET state = 'leased', lease = $3, due_at = now() + make_interval(secs => $4)
WHERE q.id = ANY (ARRAY(SELECT id FROM due)) -- not a join: the planner expects so many that it reads the whole queue
RETURNING q.account_id, q.id, q.endpoint_id, q.message_id, q.type, q.attempts, q.tried,
          coalesce(extract(epoch FROM now() - q.first_try_at), 0)::float8 AS tried_for,
          extract(epoch FROM now() - q.created_at)::float8 AS age

-- name: messages
SELECT id, body, traceparent FROM messages WHERE id = ANY ($1::text[])

-- name: record
WITH outcome AS (
    SELECT *
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::float8[], $5::smallint[], $6::text[], $7::smallint[],
                $8::integer[], $9::text[], $10::float8[], $11::text[])
         AS o (delivery_id, lease, state, delay, number, result, status, duration_ms, response, attempted_at, signature)
), again AS (
    UPDATE queue AS q
    SET state = 'retry',
        lease = NULL,
        attempts = o.number,
        tried = q.tried + 1,
        last_result = o.result,
        due_at = now() + make_interval(secs => o.delay),
        first_try_at = coalesce(q.first_try_at, now() - make_interval(secs => o.duration_ms / 1000.0))
    FROM outcome AS o
    WHERE o.state = 'retry' AND q.id = o.delivery_id AND q.lease = o.lease
    RETURNING q.account_id, q.id, q.endpoint_id, q.message_id, q.type, o.lease
), ended AS (
    DELETE FROM queue AS q
    USING outcome AS o
    WHERE o.state <> 'retry' AND q.id = o.delivery_id AND q.lease = o.lease
    RETURNING q.account_id, q.id, q.endpoint_id, q.message_id, q.type, o.lease, o.state, o.number, o.result, q.created_at,
              coalesce(q.first_try_at, now() - make_interval(secs => o.duration_ms / 1000.0)) AS first_try_at
), logged AS (
    INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, attempts, last_result, created_at,
                            first_try_at)
    SELECT account_id, id, endpoint_id, message_id, type, state, number, result, created_at, first_try_at FROM ended
), recorded AS (
    SELECT account_id, id, endpoint_id, message_id, type, lease FROM again
    UNION ALL SELECT account_id, id, endpoint_id, message_id, type, lease FROM ended
), attempted AS (
    INSERT INTO attempts (account_id, delivery_id, number, result, status, duration_ms, response, attempted_at,
                          signature, agent)
    SELECT r.account_id, r.id, o.number, o.result, o.status, o.duration_ms, o.response, to_timestamp(o.attempted_at),
           o.signature, $12
    FROM recorded AS r JOIN outcome AS o ON o.delivery_id = r.id AND o.lease = r.lease
)
-- Reads endpoints (owner: publisher/endpoints.py): whether a success has anything to clear there.
SELECT r.account_id, r.id, r.endpoint_id, r.message_id, r.type,
       EXISTS (SELECT FROM endpoints e WHERE e.id = r.endpoint_id AND e.failing_since IS NOT NULL) AS was_failing,
       r.lease
FROM recorded AS r

-- name: release
UPDATE queue
SET state = CASE WHEN tried = 0 THEN 'pending' ELSE 'retry' END, lease = NULL, due_at = now()
WHERE id = ANY ($1::text[]) AND lease = ANY ($2::bigint[])

-- name: cancel_endpoints
-- Materialised, here as above: in a plan that runs the inner query once per row, LIMIT would limit nothing.
WITH due AS MATERIALIZED (
    SELECT id FROM queue WHERE endpoint_id = ANY ($1::text[]) AND due_at <= now() LIMIT $2 FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM queue WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING *
)
INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, reason, attempts, last_result, created_at,
                        first_try_at)
SELECT account_id, id, endpoint_id, message_id, type, 'cancelled', 'endpoint', attempts, last_result, created_at,
       first_try_at
FROM ended
RETURNING type

-- name: end
WITH ended AS (
    DELETE FROM queue WHERE id = ANY ($1::text[]) AND lease IS NOT DISTINCT FROM $2 RETURNING *
)
INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, reason, attempts, last_result, created_at,
                        first_try_at)
SELECT account_id, id, endpoint_id, message_id, type, $3, $4, attempts, last_result, created_at, first_try_at
FROM ended
RETURNING account_id, id, endpoint_id, message_id, type, attempts, last_result
