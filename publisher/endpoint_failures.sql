-- The statements of publisher/endpoint_failures.py: how endpoints have been doing.
-- Whoever changes several rows locks them in the order of their ids first: two that lock in different orders wait
-- for each other. FOR NO KEY UPDATE lets secrets be added to an endpoint meanwhile.

-- name: note
-- Failures ($1 to $3) and successes ($4) in one statement, so that rows are locked once and in order. Only what
-- changes is locked and written: an endpoint that works, or goes on failing the same way, costs a look.
WITH noted AS (
    SELECT id, dropped, result, false AS has_worked
    FROM unnest($1::text[], $2::integer[], $3::text[]) AS f (id, dropped, result)
    UNION ALL
    SELECT id, 0, NULL, true FROM unnest($4::text[]) AS s (id)
), held AS (
    SELECT n.* FROM endpoints e JOIN noted n ON n.id = e.id
    WHERE CASE WHEN n.has_worked THEN e.failing_since IS NOT NULL
          ELSE e.status = 'active'
               AND (e.failing_since IS NULL OR n.dropped > 0 OR e.last_result IS DISTINCT FROM n.result) END
    ORDER BY e.id FOR NO KEY UPDATE OF e
)
UPDATE endpoints e SET
    failing_since = CASE WHEN NOT h.has_worked THEN coalesce(e.failing_since, now()) END,
    dropped = CASE WHEN h.has_worked THEN 0 ELSE e.dropped + h.dropped END,
    last_result = h.result
FROM held h WHERE e.id = h.id

-- name: disable
WITH held AS (
    SELECT id FROM endpoints WHERE id = ANY ($1::text[]) AND status <> 'disabled'
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE endpoints e SET status = 'disabled', disabled_reason = $2, version = e.version + 1, updated_at = now()
FROM held WHERE e.id = held.id
RETURNING e.account_id, e.id, e.disabled_reason, e.failing_since, e.dropped, e.last_result

-- name: disable_failing
-- A row somebody else is writing to is looked at again the next time.
WITH held AS (
    SELECT id FROM endpoints
    WHERE status = 'active' AND failing_since <= now() - $1 * interval '1 s' AND dropped >= $2
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE endpoints e SET status = 'disabled', disabled_reason = 'failing', version = e.version + 1, updated_at = now()
FROM held WHERE e.id = held.id
RETURNING e.account_id, e.id, e.disabled_reason, e.failing_since, e.dropped, e.last_result
