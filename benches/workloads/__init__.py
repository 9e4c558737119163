"""The traffic: for each kind a pair of roles, the one that binds and the one that connects.

The key is the pattern and how the application calls. A role raises `Unsupported("why")` where a library lacks
what it needs.
"""

from __future__ import annotations

from functools import partial

from benches.content import POOL
from benches.job import Workload
from benches.workloads import (
    asynchronous,
    fan_out,
    idle,
    memory,
    peers,
    pipeline,
    polling,
    raw,
    round_trip,
)

WORKLOADS: dict[tuple[str, str], Workload] = {
    ("PUSH/PULL", "one by one"): Workload(pipeline.pull, pipeline.push, pilot=32 * POOL),
    ("PUSH/PULL", "batches"): Workload(
        pipeline.pull_batches,
        pipeline.push_batches,
        pilot=32 * POOL,
        unit=POOL,
        others="one by one",
    ),
    ("PUSH/PULL", "three parts"): Workload(
        pipeline.pull_parts, pipeline.push_parts, pilot=16 * POOL
    ),
    ("PUSH/PULL", "CURVE"): Workload(
        partial(pipeline.pull, prepare=pipeline.be_curve_server),
        partial(pipeline.push, prepare=pipeline.be_curve_client),
        pilot=8 * POOL,
    ),
    ("PUSH/PULL", "raw"): Workload(raw.receive, raw.send, pilot=POOL),
    ("PUSH/PULL", "asyncio"): Workload(asynchronous.pull, asynchronous.push, pilot=4 * POOL),
    ("PUSH/PULL", "one active"): Workload(
        peers.pull_from_one, peers.push_from_one, pilot=16 * POOL
    ),
    ("PUSH/PULL", "all active"): Workload(
        peers.pull_from_all, peers.push_from_all, pilot=16 * POOL
    ),
    ("REQ/REP", "one by one"): Workload(round_trip.reply, round_trip.request, "p50"),
    ("REQ/REP", "asyncio"): Workload(asynchronous.reply, asynchronous.request, "p50", pilot=512),
    ("REQ/REP", "connect each time"): Workload(
        round_trip.reply, round_trip.connect_each_time, pilot=64
    ),
    ("PUB/SUB", "one by one"): Workload(fan_out.publish, fan_out.subscribe, unit=POOL),
    ("ROUTER/DEALER", "one by one"): Workload(peers.echo, peers.ask_in_turn, pilot=8 * POOL),
    ("ROUTER/DEALER", "one active"): Workload(peers.echo_one, peers.ask_from_one, pilot=POOL),
    ("memory", "silent PULL"): Workload(memory.keep_silent_pull, memory.push_until_full),
    ("memory", "silent SUB"): Workload(memory.publish_much, memory.keep_silent_sub),
    ("memory", "idle connections"): Workload(memory.accept_many, memory.connect_many),
    ("idle", "contexts"): Workload(idle.make_contexts, None),
    ("idle", "waiting"): Workload(idle.wait_with_many, idle.wait_with_one_each),
    ("Poller", "one ready"): Workload(polling.poll_one_of_many, None, pilot=256),
}
