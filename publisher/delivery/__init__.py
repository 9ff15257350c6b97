"""Delivery: a job becomes one HTTP request, its outcome becomes one row. The design, in one place.

**A delivery** is one message for one endpoint. While it is under way it stands in the table `queue`, when it has
ended in `deliveries`; one statement moves it. Its states are held by constraints of both tables:

           queue (live)                                          deliveries (ended)
    ┌─────────┐  claim    ┌────────┐  2xx                        ┌───────────┐
    │ pending │ ────────► │        │ ──────────────────────────► │ delivered │
    └─────────┘           │        │                             └───────────┘
      ▲  ▲      fan-out ► │ leased │  failed for good, 410       ┌─────────┐
      │  │ (lease held    │        │ ──────────────────────────► │ dropped │ ◄─ the operator gives up
      │  │  from birth)   │        │                             └─────────┘
      │  └────────────────│        │  endpoint or payload gone   ┌───────────┐
      │    release        └────────┘ ──────────────────────────► │ cancelled │ ◄─ the account's queue is full
      │                    ▲     │                               └───────────┘
      │              claim │     │ failed, retries left
      │                 ┌──┴─────▼┐
      │                 │  retry  │        a lease that is over is claimed by anyone
      │                 └─────────┘
      └── redelivered or recovered: any ended delivery whose payload is kept, on a new schedule

**Promise.** At least once from the commit of the event until the schedule ends. An attempt is recorded after it
was made and before its slot takes more work; the record names the lease, so a worker that was presumed dead and
comes back changes nothing. A crash between send and record means the same `webhook-id` is sent again after the
lease. A lease outlives a whole attempt by `lease_margin`. Due times are the database's; durations are monotonic.

**Fairness.** Four things keep one endpoint from hurting another. Two *lanes* (`lane`): fresh deliveries come
straight from the consumer's commit, with the lease taken in that very transaction, and are never read back;
retries, abandoned leases and what found no room are claimed. Each lane has its own slots. The *gate* (`gate`) is
asked before every start: so many at once for an endpoint and an account, fewer for one that has not proven itself,
none towards one that hangs, one probe at a time where the circuit is open. The *claim* goes round: endpoint by
endpoint through an index, each its share, so a pile behind one costs the others one step. And *names* are looked
up without threads, each bounded. What an endpoint may not start now waits in the database, not in a slot; it gets
its last attempt however late, so a window can pass while a circuit is open.

**What follows from failure** (`publisher/failures.py`) is written in the transaction that records it: what was
dropped is announced, 410 disables, and so does failing for days.

**Connections** to a receiver are reused, for as long as a DNS answer is believed (30 s) and no longer: every new
one goes through the guard again, so an address that turns private is met within that time. The price is a new
handshake per endpoint each half minute; a connection kept for hours would be a name resolved once and never again.

**The hops**, one file each, in order: `worker` takes a job → `gate` admits it → `request` builds and signs it (pure) →
`egress` says whether its receiver may be called → `transport` makes the exchange → `outcome` names the result and
decides (pure) with `backoff` (pure) → `recorder` writes results in groups.
"""
