"""What a run needs of an object store, tried with an object that goes away again; who is there."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, timedelta
from pathlib import Path
from typing import Final

from batchgen.clock import Clock
from batchgen.doctor.findings import BAD_DISK, BAD_USAGE, Finding, fine, problem, warning
from batchgen.errors import StoreError, UsageError
from batchgen.mirror.claim import NAME, holder, is_held
from batchgen.objects import ObjectAddress
from batchgen.objects.bucket import Bucket, ObjectGone, Refused
from batchgen.objects.credentials import aws_chain

# A claim is stale after five minutes: clocks that are so far apart cost every run a wait.
_MAX_SKEW: Final = timedelta(minutes=2)
_ELSEWHERE: Final = "choose another place with -o"


def check_store(address: ObjectAddress, clock: Clock) -> Iterator[Finding]:
    """Try what a run does where its files would go.

    Args:
        address: The job's place, which need not hold anything yet.
        clock: Tells the time here.
    """
    if address.scheme == "s3":
        chain = aws_chain(os.environ, Path.home())
        yield fine("store", f"{address}: the key comes from the {_CHAINS[chain]}")
    try:
        bucket = Bucket.at(address)
    except UsageError as error:
        yield problem("store", str(error), "install or set what is missing", BAD_USAGE)
        return
    name = f".batchgen-doctor-{secrets.token_hex(4)}"
    try:
        yield from _tried(bucket, name, clock)
        yield from _held(bucket, clock)
    except StoreError as error:
        remedy = f"check bucket, key and endpoint, or {_ELSEWHERE}"
        yield problem("store", str(error), remedy, BAD_DISK)
    finally:
        with suppress(StoreError):
            bucket.delete(name)


_CHAINS: Final = {
    "environment": "environment",
    "identity": "web identity of the environment",
    "container": "role of the container",
    "profile": "profiles of ~/.aws, by boto3",
    "metadata": "metadata of this machine, if it has any",
}


def _tried(bucket: Bucket, name: str, clock: Clock) -> Iterator[Finding]:
    first = bucket.put_new(name, b"1")
    keeps_out = _refuses(lambda: bucket.put_new(name, b"2"))
    second = bucket.put_over(name, b"3", first)
    keeps_out = keeps_out and _refuses(lambda: bucket.put_over(name, b"4", first))
    if not keeps_out or bucket.stored(name).version != second:
        told = f"{bucket.address}: this store takes every write, so two runs could write at once"
        yield problem("store", told, _ELSEWHERE, BAD_USAGE)
        return
    skew = clock.now().astimezone(UTC) - bucket.stored(name).written_at
    if abs(skew) > _MAX_SKEW:
        told = f"the clocks of this machine and of {bucket.address} are {abs(skew)} apart"
        yield warning("clock", told, "set this machine's: a claim is judged by its age")
    listed = sum(1 for one in bucket.listed() if one.path == name)
    if not listed:
        told = f"{bucket.address}: what was written is not in the list"
        yield problem("store", told, _ELSEWHERE, BAD_DISK)
        return
    yield fine("store", f"{bucket.address}: objects are written once, listed and taken away")


def _held(bucket: Bucket, clock: Clock) -> Iterator[Finding]:
    try:
        says, stored = bucket.get(NAME)
    except ObjectGone:
        yield fine("lock", f"no run holds {bucket.address}")
        return
    who = holder(says, stored)
    if is_held(stored, clock.now()):
        told = f"{bucket.address} is held by a run ({who})"
        yield warning("lock", told, "wait for it: another run ends with exit code 11 until then")
    else:
        told = f"{bucket.address} was held by a run that was killed ({who})"
        yield warning("lock", told, "run again: it watches the claim for 45 s and takes it over")


def _refuses(write: Callable[[], object]) -> bool:
    try:
        write()
    except Refused:
        return True
    return False
