"""Delivery: a job becomes one HTTP request, its outcome becomes one row. The design, in one place.

**A delivery** is one message for one endpoint. Its states, held by constraints of the schema:

    ┌─────────┐  claim   ┌────────┐  2xx                       ┌───────────┐
    │ pending │ ───────► │        │ ─────────────────────────► │ delivered │
    └─────────┘          │        │                            └───────────┘
         ▲     fan-out ► │ leased │  failed, retries left      ┌─────────┐
         │ (lease held   │        │ ─────────────────────────► │  retry  │ ─► claim
         │  from birth)  │        │                            └─────────┘
         └───────────────│        │  failed for good, 410      ┌─────────┐
           release at    │        │ ─────────────────────────► │ dropped │
           shutdown      │        │                            └─────────┘
                         │        │  endpoint gone             ┌───────────┐
                         └────────┘ ─────────────────────────► │ cancelled │
                             │ lease over: claimed by anyone   └───────────┘
                             ▼

**Promise.** At least once from the commit of the event until the schedule ends. An attempt is recorded after it
was made and before its slot takes more work; the record names the lease, so a worker that was presumed dead and
comes back changes nothing. A crash between send and record means the same `webhook-id` is sent again after the
lease. A lease outlives a whole attempt by `lease_margin`. Due times are the database's; durations are monotonic.

**Two lanes.** Fresh deliveries come straight from the consumer's commit, with the lease taken in that very
transaction, and are never read back. Retries, abandoned leases and what found no free slot are claimed from
the database. Each lane has its own slots, so a pile of retries does not hold up what is new, nor the reverse.

**The hops**, one file each, in order: `worker` takes a job → `request` builds and signs it (pure) → `egress` says
whether its receiver may be called → `transport` makes the exchange → `outcome` names the result and
decides (pure) with `backoff` (pure) → `recorder` writes results in groups.
"""
