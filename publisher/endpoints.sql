-- The statements on `endpoints`; publisher/endpoints.py is their only reader.
-- FOR NO KEY UPDATE lets secrets be added to an endpoint that is locked.

-- name: one_by_one
-- The lock is the transaction's, and the account's.
SELECT pg_advisory_xact_lock(hashtextextended($1, 7305924418))

-- name: count
SELECT count(*) FROM endpoints WHERE account_id = $1

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
-- A row in any case, so that a page without endpoints still has the total.
WITH chosen AS MATERIALIZED (
    SELECT id, account_id AS account, url, events, description, status, disabled_reason, algorithm, retries,
           window_seconds AS window, failing_since, dropped, last_result, created_at, updated_at,
           row_number() OVER (ORDER BY created_at, id) * CASE WHEN $3 THEN -1 ELSE 1 END AS place
    FROM endpoints WHERE account_id = $1 AND ($2::text IS NULL OR status = $2)
)
SELECT counted.total, page.*
FROM (SELECT count(*) AS total FROM chosen) AS counted
LEFT JOIN (SELECT * FROM chosen ORDER BY place LIMIT $4 OFFSET $5) AS page ON true
ORDER BY page.place

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
