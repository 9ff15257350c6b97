-- The statements of publisher/deliveries.py: what people do with deliveries, and what they see of them.

-- name: requeue
WITH moved AS (
    DELETE FROM deliveries AS d
    WHERE d.account_id = $1 AND d.endpoint_id = $2 AND d.id = ANY ($3::text[])
      AND EXISTS (SELECT FROM messages m WHERE m.id = d.message_id)
    RETURNING *
)
INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, attempts, due_at, last_result, created_at)
SELECT account_id, id, endpoint_id, message_id, type, 'pending', attempts, now(), last_result, created_at FROM moved
RETURNING id

-- name: undelivered
-- One page of what did not arrive, in the order of the primary key it is paged by. The row lock makes a twin wait.
SELECT id FROM deliveries
WHERE endpoint_id = $2 AND account_id = $1 AND id > $3 AND id < $4 AND state = ANY ($5::text[]) AND state <> 'delivered'
ORDER BY id
LIMIT $6
FOR UPDATE

-- name: hasten
UPDATE queue SET due_at = now() WHERE id = ANY ($1::text[]) AND state <> 'leased' RETURNING id

-- name: states
SELECT state, count(*) AS count, min(due_at) AS oldest_due FROM queue GROUP BY state
