"""The scenarios. Each file says what its workloads may lose, and what never."""

from __future__ import annotations

from soak.run import Run
from soak.workload import Workload
from soak.workloads.churn import Churn, Contexts
from soak.workloads.dialogue import Dealers, Pairs
from soak.workloads.direct import direct
from soak.workloads.pipeline import Pipeline
from soak.workloads.publications import PubSub, XPubXSub
from soak.workloads.requests import Requests
from soak.workloads.restarts import RestartsOverIpc, RestartsOverTcp
from soak.workloads.streams import Streams


def all_workloads(run: Run) -> list[Workload]:
    """One of each."""
    kinds = (
        Pipeline,
        Dealers,
        Requests,
        PubSub,
        XPubXSub,
        Pairs,
        Streams,
        RestartsOverTcp,
        RestartsOverIpc,
        Churn,
        Contexts,
    )
    return [*direct(run), *(kind(run) for kind in kinds)]
