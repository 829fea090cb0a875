"""Metering: what a request used, what it may use, and who keeps account of both."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from zaffre.core.cards import Prices
from zaffre.core.plan import Limits

ABORTED = "aborted"
"""The `finish` of a request whose server ended before the request did."""


class UsageRow(Struct, frozen=True, kw_only=True):
    """One request and what it cost. Never holds text of a prompt or of an answer."""

    id: str
    """The request's id, as in the log and in the answer's `x-request-id`."""
    started_ms: int
    """When the request arrived: milliseconds since 1970, UTC."""
    principal_id: str = ""
    principal_name: str = ""
    endpoint: str = ""
    """Empty: at the server's root."""
    deployment: str = ""
    model: str = ""
    operation: str = ""
    dialect: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Part of the prompt's."""
    reasoning_tokens: int = 0
    """Part of the completion's."""
    latency_ms: int = 0
    """From arrival to the last byte but the end marker."""
    first_token_ms: int | None = None
    """From arrival to the first token; None when there was none."""
    finish: str = ""
    """Why generation ended (`stop`, `length`, ...), `aborted`, or empty."""
    status: int = 0
    """The HTTP status that the client got; 0: none yet."""
    bytes_in: int = 0
    bytes_out: int = 0
    attempt: int = 1
    """How many upstreams were asked, at least 1."""
    stream: bool = False
    mirrored: bool = False
    """A copy of a client's request that the client knows nothing of, and does not pay for."""


UsageGroup = Literal["key", "model", "endpoint", "day"]


class UsageQuery(Struct, frozen=True):
    """Which usage, summed up by what. Days are days of UTC."""

    by: UsageGroup
    since_day: int = 0
    """Days since 1970-01-01; the first that counts."""
    principal_id: str | None = None
    """Of this principal alone; None: of everybody."""
    mirrored: bool = False
    """Mirrored requests instead of the clients' own."""


class UsageSum(Struct, frozen=True, kw_only=True):
    """What the requests of one group used together."""

    group: str
    """The key's id, the model, the endpoint or the day as `2026-11-01`."""
    name: str
    """What people call the group: a key's name, else the group itself."""
    requests: int
    errors: int
    """Of the requests: those with status 400 or above, and the aborted ones."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: float | None
    """Of the tokens whose model has a price; None when none has."""
    unpriced_tokens: int
    """Those that `cost` leaves out."""


PriceList = Mapping[str, Prices]
"""By model, as ledger rows name it."""


class Ledger(Protocol):
    """Keeps one row per request.

    Used from one event loop. Every `open` that returned is followed by exactly one `close`.
    """

    def open(self, row: UsageRow) -> int:
        """A request begins. Its entry, for `checkpoint` and `close`; never waits.

        It is on disk a moment later: should the server be killed from then on, the request is in
        the ledger as `aborted`. Raises `Overloaded` when too many requests are open, and
        `MeteringUnavailable` while the ledger cannot be written.
        """

    def checkpoint(self, entry: int, completion_tokens: int) -> None:
        """So many tokens so far. Cheap enough for every delta; on disk within seconds."""

    async def close(self, entry: int, row: UsageRow) -> None:
        """The request has ended as `row` says. Returns when that is durable.

        Being cancelled while waiting changes nothing: the row is written. Raises
        `MeteringUnavailable` when it could not be written yet; it is kept and tried again.
        """

    async def usage(self, query: UsageQuery, prices: PriceList) -> list[UsageSum]:
        """What was used, by group. Raises `MeteringUnavailable`."""

    @property
    def problem(self) -> str:
        """Why requests are refused at present, in a sentence; empty when all is well."""

    async def aclose(self) -> None:
        """Write everything that waits, mark what is still open as aborted, let go of the files."""


class Scope(Struct, frozen=True):
    """Something whose use is limited: what it is, which one, and how much it may use."""

    kind: Literal["key", "endpoint", "deployment"]
    name: str
    """What tells it from all others of its kind. Two scopes of one name share one account."""
    limits: Limits

    @property
    def account(self) -> str:
        """The name under which its use is counted."""
        return f"{self.kind}:{self.name}"


class RateLimits(Struct, frozen=True):
    """The tightest limits per minute over all scopes, for the `x-ratelimit-*` headers.

    None where there is no limit. `reset` is in whole seconds until all of it is free again.
    """

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: int | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: int | None = None


class Reservation(Protocol):
    """A request's share of all its scopes."""

    @property
    def rates(self) -> RateLimits:
        """What is left now that this request has its share."""

    async def settle(self, tokens: int) -> None:
        """The request has ended and used `tokens`. The rest is given back; more is charged.

        Frees its place among the concurrent requests. A second call does nothing. Never raises for
        reasons of the store's: what cannot be given back runs out by itself.
        """


class Quota(Protocol):
    """Decides whether a request may run now."""

    async def reserve(self, scopes: Sequence[Scope], tokens: int) -> Reservation:
        """Take a request and `tokens` tokens (the most it can use) from every scope, or from none.

        Raises `QuotaExceeded` when a scope has not enough left, `RequestAboveQuota` when it never
        could have enough, and `MeteringUnavailable` when the shared account cannot be reached.
        """

    async def aclose(self) -> None:
        """Let go of connections."""
