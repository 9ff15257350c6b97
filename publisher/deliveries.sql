-- The statements of publisher/deliveries.py: what people do with deliveries, and what they see of them.

-- name: find
-- One statement for both tables: a delivery that is being moved is in one of them. A public message has no account.
SELECT state, attempts,
       EXISTS (SELECT FROM messages m WHERE m.account_id IN ($1, '') AND m.id = d.message_id) AS has_payload
FROM delivery_log d
WHERE account_id = $1 AND endpoint_id = $2 AND id = $3

-- name: owned
-- By the id alone, for the operator, who is told whose it is: of the log, the one partition of its day is read.
SELECT account_id, endpoint_id, state FROM delivery_log WHERE id = $1

-- name: requeue
-- OFFSET 0 keeps the planner from joining: it would read every message there is.
WITH moved AS (
    DELETE FROM deliveries AS d
    WHERE d.account_id = $1 AND d.endpoint_id = $2 AND d.id = ANY ($3::text[]) AND d.attempts < $4
      AND EXISTS (SELECT FROM messages m WHERE m.account_id IN ($1, '') AND m.id = d.message_id OFFSET 0)
    RETURNING *
)
INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, attempts, due_at, last_result, created_at)
SELECT account_id, id, endpoint_id, message_id, type, 'pending', attempts, now(), last_result, created_at FROM moved
RETURNING id

-- name: undelivered
-- One page of what did not arrive, in the order of the key it is paged by, which its partial index keeps. The row
-- lock makes a twin wait and then pass over what has been moved meanwhile.
SELECT id, state FROM deliveries
WHERE account_id = $1 AND endpoint_id = $2 AND id > $3 AND id < $4 AND state <> 'delivered'
ORDER BY id
LIMIT $5
FOR UPDATE

-- name: hasten
UPDATE queue SET due_at = now() WHERE account_id = $1 AND id = ANY ($2::text[]) AND state <> 'leased' RETURNING id

-- name: hasten_endpoint
-- Materialised: in a plan that runs the inner query once per row, LIMIT would limit nothing.
WITH waiting AS MATERIALIZED (
    SELECT id FROM queue
    WHERE account_id = $1 AND endpoint_id = $2 AND due_at > now() AND state <> 'leased' AND id >= $3
    ORDER BY due_at
    LIMIT $4
    FOR UPDATE SKIP LOCKED
)
UPDATE queue SET due_at = now() WHERE account_id = $1 AND id = ANY (ARRAY(SELECT id FROM waiting))

-- name: due
SELECT count(*) FROM (
    SELECT FROM queue WHERE account_id = $1 AND endpoint_id = $2 AND due_at <= now() LIMIT $3
) AS due

-- name: waiting_of
SELECT id FROM queue
WHERE account_id = $1 AND endpoint_id = $2 AND state <> 'leased' AND created_at <= $3
LIMIT $4
FOR UPDATE SKIP LOCKED

-- name: cancel
-- Not what is leased: whoever attempts it records how that ended. Materialised as above.
WITH waiting AS MATERIALIZED (
    SELECT id FROM queue
    WHERE account_id = $1 AND endpoint_id = $2 AND state <> 'leased'
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM queue WHERE account_id = $1 AND id = ANY (ARRAY(SELECT id FROM waiting)) RETURNING *
), logged AS (
    INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, reason, attempts, last_result,
                            created_at, first_try_at)
    SELECT account_id, id, endpoint_id, message_id, type, 'cancelled', 'endpoint', attempts, last_result, created_at,
           first_try_at
    FROM ended
)
SELECT type, count(*) FROM ended GROUP BY type

-- name: count_waiting
SELECT now() AS now, count(*) AS waiting FROM queue WHERE account_id = $1 AND endpoint_id = $2 AND state <> 'leased'

-- name: under_way
SELECT id FROM queue WHERE account_id = $1 AND endpoint_id = $2 AND state = 'leased' ORDER BY id

-- name: owners
-- By the ids alone, for the operator. What is not here has ended, or never was.
SELECT account_id, id FROM queue WHERE id = ANY ($1::text[])

-- name: states
SELECT state, count(*) AS count, min(due_at) AS oldest_due,
       greatest(extract(epoch FROM now() - min(due_at)), 0)::float8 AS overdue
FROM queue
WHERE $1::text IS NULL OR account_id = $1
GROUP BY state

-- name: ended
-- The log has no index by the end; ids bound it to the partitions of those made since $2.
SELECT state, last_result, count(*) FILTER (WHERE ended_at >= now() - interval '1 hour') AS hour, count(*) AS day
FROM deliveries
WHERE id >= $2 AND ended_at >= now() - interval '1 day' AND ($1::text IS NULL OR account_id = $1)
GROUP BY state, last_result

-- name: troubled
-- Reads full_accounts, endpoints and recoveries (owners: publisher/quota.py, endpoints.py, recovery.py).
SELECT (SELECT count(*) FROM full_accounts WHERE $1::text IS NULL OR account_id = $1) AS full_accounts,
       (SELECT count(*) FROM endpoints
        WHERE status = 'disabled' AND ($1::text IS NULL OR account_id = $1)) AS disabled_endpoints,
       (SELECT count(*) FROM recoveries
        WHERE ended_at IS NULL AND ($1::text IS NULL OR account_id = $1)) AS running_recoveries

-- name: endpoint
-- Reads endpoints (owner: publisher/endpoints.py) by the id alone, for the operator.
SELECT account_id FROM endpoints WHERE id = $1
