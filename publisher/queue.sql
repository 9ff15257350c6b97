-- The statements of the delivery queue and its log; publisher/queue.py is their only reader.
-- Times are the database's: a due time is compared with and computed from now(), never a worker's clock.
-- Every row is asked for by its account, with which every key begins (ADR 22).
-- The queue is empty now and full a second later, so what the planner believes of it is wrong, and a plan that is kept is
-- one for another size: a join that reads all of the queue for each row was made while there was nothing in it. So the
-- planner is left no choice (LOOK_UP in queue.py forbids reading a table from end to end): a subquery of its own, which
-- LIMIT makes it, finds each row by its key, and the row is then taken by the place where it lies, its ctid. A range of
-- one id in the order of ids is had from the key alone: any other index on the account costs a sort, however little there
-- seems to be in it.

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
-- It goes through the accounts in the order of their keys, so where those are spread it is walked on each part.
WITH RECURSIVE walk AS (
    (SELECT account_id, endpoint_id, due_at, 1 AS step FROM queue
     WHERE (account_id, endpoint_id) > ($1, $2)
     ORDER BY account_id, endpoint_id, due_at
     LIMIT 1)
    UNION ALL
    SELECT later.account_id, later.endpoint_id, later.due_at, step + 1
    FROM walk CROSS JOIN LATERAL (
        SELECT account_id, endpoint_id, due_at FROM queue
        WHERE (account_id, endpoint_id) > (walk.account_id, walk.endpoint_id)
        ORDER BY account_id, endpoint_id, due_at
        LIMIT 1
    ) AS later
    WHERE step < $3
)
SELECT account_id, endpoint_id, due_at <= now() AS is_due FROM walk ORDER BY step

-- name: claim
WITH turn AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::integer[]) AS t (account_id, endpoint_id, share)
), due AS MATERIALIZED (
    SELECT oldest.place
    FROM turn CROSS JOIN LATERAL (
        SELECT ctid AS place FROM queue
        WHERE account_id = turn.account_id AND endpoint_id = turn.endpoint_id AND due_at <= now()
        ORDER BY due_at
        LIMIT turn.share
        FOR UPDATE SKIP LOCKED
    ) AS oldest
)
UPDATE queue AS q
SET state = 'leased', lease = $4, due_at = now() + make_interval(secs => $5)
FROM due
WHERE q.ctid = due.place
RETURNING q.account_id, q.id, q.endpoint_id, q.message_id, q.type, q.attempts, q.tried,
          coalesce(extract(epoch FROM now() - q.first_try_at), 0)::float8 AS tried_for,
          extract(epoch FROM now() - q.created_at)::float8 AS age

-- name: messages
-- A public message stands once, under no account. OFFSET 0 keeps the planner from joining: it would read every message.
SELECT wanted.account_id, wanted.id, found.body, found.traceparent
FROM unnest($1::text[], $2::text[]) AS wanted (account_id, id) CROSS JOIN LATERAL (
    SELECT body, traceparent FROM messages WHERE account_id IN (wanted.account_id, '') AND id = wanted.id OFFSET 0
) AS found

-- name: record
WITH outcome AS (
    SELECT *
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::float8[], $6::smallint[], $7::text[],
                $8::smallint[], $9::integer[], $10::text[], $11::float8[], $12::text[])
         AS o (account_id, delivery_id, lease, state, delay, number, result, status, duration_ms, response,
               attempted_at, signature)
), held AS MATERIALIZED (
    SELECT o.lease, o.state, o.delay, o.number, o.result, o.duration_ms, found.place
    FROM outcome AS o CROSS JOIN LATERAL (
        SELECT ctid AS place FROM queue
        WHERE account_id = o.account_id AND id BETWEEN o.delivery_id AND o.delivery_id AND lease = o.lease
        ORDER BY id LIMIT 1
    ) AS found
), again AS (
    UPDATE queue AS q
    SET state = 'retry',
        lease = NULL,
        attempts = o.number,
        tried = q.tried + 1,
        last_result = o.result,
        due_at = now() + make_interval(secs => o.delay),
        first_try_at = coalesce(q.first_try_at, now() - make_interval(secs => o.duration_ms / 1000.0))
    FROM held AS o
    WHERE o.state = 'retry' AND q.ctid = o.place AND q.lease = o.lease
    RETURNING q.account_id, q.id, q.endpoint_id, q.message_id, q.type, o.lease
), ended AS (
    DELETE FROM queue AS q
    USING held AS o
    WHERE o.state <> 'retry' AND q.ctid = o.place AND q.lease = o.lease
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
           o.signature, $13
    FROM recorded AS r JOIN outcome AS o ON o.account_id = r.account_id AND o.delivery_id = r.id AND o.lease = r.lease
)
-- Reads endpoints (owner: publisher/endpoints.py): whether a success has anything to clear there.
SELECT r.account_id, r.id, r.endpoint_id, r.message_id, r.type,
       EXISTS (SELECT FROM endpoints e
               WHERE e.account_id = r.account_id AND e.id = r.endpoint_id AND e.failing_since IS NOT NULL
               OFFSET 0) AS was_failing,
       r.lease
FROM recorded AS r

-- name: release
UPDATE queue AS q
SET state = CASE WHEN tried = 0 THEN 'pending' ELSE 'retry' END, lease = NULL, due_at = now()
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS held (account_id, id, lease) CROSS JOIN LATERAL (
    SELECT ctid AS place FROM queue
    WHERE account_id = held.account_id AND id BETWEEN held.id AND held.id AND lease = held.lease
    ORDER BY id LIMIT 1
) AS found
WHERE q.ctid = found.place AND q.lease = held.lease

-- name: cancel_endpoints
-- Materialised, here as above: in a plan that runs the inner query once per row, LIMIT would limit nothing.
WITH due AS MATERIALIZED (
    SELECT waiting.place
    FROM unnest($1::text[], $2::text[]) AS gone (account_id, endpoint_id) CROSS JOIN LATERAL (
        SELECT ctid AS place FROM queue
        WHERE account_id = gone.account_id AND endpoint_id = gone.endpoint_id AND due_at <= now()
        ORDER BY due_at
        LIMIT $3
        FOR UPDATE SKIP LOCKED
    ) AS waiting
    LIMIT $3
), ended AS (
    DELETE FROM queue AS q
    USING due
    WHERE q.ctid = due.place
    RETURNING q.*
)
INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, reason, attempts, last_result, created_at,
                        first_try_at)
SELECT account_id, id, endpoint_id, message_id, type, 'cancelled', 'endpoint', attempts, last_result, created_at,
       first_try_at
FROM ended
RETURNING type

-- name: end
WITH ended AS (
    DELETE FROM queue AS q
    USING unnest($1::text[], $2::text[]) AS given (account_id, id) CROSS JOIN LATERAL (
        SELECT ctid AS place FROM queue WHERE account_id = given.account_id AND id BETWEEN given.id AND given.id
        ORDER BY id LIMIT 1
    ) AS found
    WHERE q.ctid = found.place AND q.lease IS NOT DISTINCT FROM $3
    RETURNING q.*
)
INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, reason, attempts, last_result, created_at,
                        first_try_at)
SELECT account_id, id, endpoint_id, message_id, type, $4, $5, attempts, last_result, created_at, first_try_at
FROM ended
RETURNING account_id, id, endpoint_id, message_id, type, attempts, last_result
