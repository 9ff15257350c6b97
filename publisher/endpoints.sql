-- The statements on `endpoints`; publisher/endpoints.py is their only reader.
-- Whoever changes several rows locks them in the order of their ids first: two that lock in different orders wait
-- for each other. FOR NO KEY UPDATE lets secrets be added to an endpoint meanwhile.

-- name: insert
INSERT INTO endpoints (account_id, id, url, events, description, retries, window_seconds, algorithm)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: active_of_accounts
-- Reads endpoint_secrets (owner: publisher/endpoint_secrets.py): the number in force tells that an overlap has
-- ended, which changes no version.
SELECT e.id, e.version, (
    SELECT count(*) FROM endpoint_secrets s
    WHERE s.account_id = e.account_id AND s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now())
)
FROM endpoints e
WHERE e.account_id = ANY ($1::text[]) AND e.status = 'active'

-- name: active_of_ids
-- As above.
SELECT e.id, e.version, (
    SELECT count(*) FROM endpoint_secrets s
    WHERE s.account_id = e.account_id AND s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now())
)
FROM endpoints e
WHERE e.id = ANY ($1::text[]) AND e.status = 'active'

-- name: prepare
-- One statement for both tables: an endpoint's version and its secrets are of the same moment.
SELECT e.account_id, e.id, e.version, e.url, e.events, e.retries, e.window_seconds,
       s.version AS secret_version, s.kind, s.key_id, s.sealed, s.public_key
FROM endpoints e JOIN endpoint_secrets s ON s.account_id = e.account_id AND s.endpoint_id = e.id
WHERE e.id = ANY ($1::text[]) AND (s.expires_at IS NULL OR s.expires_at > now())
ORDER BY e.id, s.version DESC

-- name: read
SELECT id, account_id AS account, url, events, description, status, disabled_reason, algorithm, retries,
       window_seconds AS window, failing_since, dropped, last_result, created_at, updated_at
FROM endpoints WHERE account_id = $1 AND id = $2

-- name: list
SELECT id, account_id AS account, url, events, description, status, disabled_reason, algorithm, retries,
       window_seconds AS window, failing_since, dropped, last_result, created_at, updated_at
FROM endpoints WHERE account_id = $1 ORDER BY id

-- name: public_keys
-- Reads endpoint_secrets; no row when the endpoint is not the account's.
SELECT ARRAY (
    SELECT s.public_key FROM endpoint_secrets s
    WHERE s.account_id = e.account_id AND s.endpoint_id = e.id AND s.kind = 'ed25519'
      AND (s.expires_at IS NULL OR s.expires_at > now())
    ORDER BY s.version DESC
)
FROM endpoints e WHERE e.account_id = $1 AND e.id = $2

-- name: lock
SELECT id FROM endpoints WHERE account_id = $1 AND id = $2 FOR NO KEY UPDATE

-- name: update
-- What an endpoint did in one status says nothing about the next: each change of status is a fresh start.
UPDATE endpoints SET
    url = $3, events = $4, description = $5, retries = $6, window_seconds = $7, status = $8,
    disabled_reason = CASE WHEN status = $8 THEN disabled_reason END,
    failing_since = CASE WHEN status = $8 THEN failing_since END,
    dropped = CASE WHEN status = $8 THEN dropped ELSE 0 END,
    last_result = CASE WHEN status = $8 THEN last_result END,
    version = version + 1, updated_at = now()
WHERE account_id = $1 AND id = $2

-- name: new_version
UPDATE endpoints SET version = version + 1, updated_at = now()
WHERE account_id = $1 AND id = $2
RETURNING algorithm

-- name: delete
DELETE FROM endpoints WHERE account_id = $1 AND id = $2 RETURNING id

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
