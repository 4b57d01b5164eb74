"""Processes on many machines that make the calls of one run.

    Crew (with the run)  ──tickets, leases──>  Desk  ──>  Worker (anywhere)  ──>  the service
                         <──asks, ends───────        <──

The run keeps all that has to be decided in one place: the agenda, the limits, the money, retries
and the ledger. A worker pulls tickets, asks for leave, sends, receives and settles: its pictures go
straight to where they belong, and only the ledger's lines travel. The desk stands between them,
since neither knows where the other is. Nothing in here knows what carries the messages.

    desk, messages   what is said
    crew, worker     the two sides
    place            how files come from the one to the other: on one disk, or through a store
    salvage          what lost workers left on their machines

Source: docs/adr/0024.
"""

from batchgen.crew.crew import Crew, Hands
from batchgen.crew.desk import Desk, RunSide, WorkerSide
from batchgen.crew.place import SameDisk, ThroughStore
from batchgen.crew.salvage import salvage
from batchgen.crew.worker import Worker

__all__ = [
    "Crew",
    "Desk",
    "Hands",
    "RunSide",
    "SameDisk",
    "ThroughStore",
    "Worker",
    "WorkerSide",
    "salvage",
]
