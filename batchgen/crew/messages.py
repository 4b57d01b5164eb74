"""What a run and its workers say to each other, by way of the desk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from batchgen.preparation import Request
from batchgen.settle import CallEnd
from batchgen.store.ledger import Sent


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call to make, once there is leave for it.

    Attributes:
        number: Names it in all that is said of it.
        made: The digests of what was made last where its picture may come to lie.
        worker: Who had the item before, and is to have it again; None is for whoever is free.
    """

    number: int
    request: Request
    made: Mapping[str, str | None]
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may leave: it stands in the ledger. It may not any more, if there is no line."""

    number: int
    sent: Sent | None


@dataclass(frozen=True, slots=True)
class CalledOff:
    """Nobody wants the call any more; if it is under way, its end is told all the same."""

    number: int


Order: TypeAlias = Ticket | Granted | CalledOff


@dataclass(frozen=True, slots=True)
class Taken:
    """The desk gave a ticket to the worker."""

    number: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The call could leave now."""

    number: int


@dataclass(frozen=True, slots=True)
class Going:
    """Leave has come; `Left` follows with the first byte."""

    number: int


@dataclass(frozen=True, slots=True)
class Left:
    """The first byte leaves."""

    number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The call has ended, or what is raised for it ends the run."""

    number: int
    end: CallEnd | Exception


@dataclass(frozen=True, slots=True)
class Told:
    """Something that a person should read."""

    warning: str


@dataclass(frozen=True, slots=True)
class Broke:
    """The disk has failed a worker, which may take minutes more to end what it has."""

    failure: Exception


@dataclass(frozen=True, slots=True)
class Alive:
    """It is there, and has nothing to say."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The worker is lost; nothing that it says later is heard."""


Message: TypeAlias = Taken | Asked | Going | Left | Ended | Told | Broke | Alive | Gone


@dataclass(frozen=True, slots=True)
class News:
    """A message, and the worker that it is from."""

    worker: str
    message: Message
