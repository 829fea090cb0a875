"""What the gateway can do: chat, complete, embed, describe. Reads like the story of a request."""

import asyncio
import logging
import random
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from msgspec import Struct, structs

from zaffre.auth import policy
from zaffre.auth.policy import Place, judge
from zaffre.core.accounts import Account
from zaffre.core.answers import Answer, gathered
from zaffre.core.calls import (
    Call,
    ChatCall,
    CompletionCall,
    EmbedCall,
    GenerationCall,
    ImageEmbedCall,
    Operation,
    TextPart,
    UserMessage,
    operation_of,
)
from zaffre.core.capabilities import Capabilities, check
from zaffre.core.cards import ModelCard
from zaffre.core.client import ModelClient
from zaffre.core.context import Context
from zaffre.core.deltas import Batches, Delta, Embeddings, Usage
from zaffre.core.errors import (
    EngineFailed,
    ModelContainerFailed,
    ModelUnreachable,
    QuotaExceeded,
    ZaffreError,
)
from zaffre.core.media import MediaFetcher
from zaffre.core.metering import Ledger, Quota, Reservation, Scope
from zaffre.core.plan import Limits
from zaffre.core.principals import Principal
from zaffre.core.safety import ScreenReport
from zaffre.metering.estimates import estimate_tokens
from zaffre.routing.deployments import Deployment
from zaffre.routing.replicas import Replica
from zaffre.routing.table import Draw, Endpoint, Permitted, Route, Selector, Table, Target
from zaffre.safety.screen import Screen
from zaffre.service.media import with_media
from zaffre.service.screening import Screening

MAX_MIRRORED = 64
"""Copies on their way at a time; when there are more, a call is not copied."""
AFFINITY_CHARACTERS = 256
"""Calls whose first messages begin with the same so many characters share a prefix cache."""
ASSUMED_ANSWER_TOKENS = 256
"""Reserved for an answer whose request has no bound."""
SERVERLESS_LIMITS = Limits(tokens_per_minute=200_000, requests_per_minute=1_000)
"""As Azure's serverless endpoints have them."""
log = logging.getLogger("zaffre.gateway")


class Answered(Struct, frozen=True):
    """An answer."""

    answer: Answer
    report: ScreenReport
    """What content safety found."""


class Stream(Struct, frozen=True):
    """An answer under way."""

    batches: Batches
    report: ScreenReport
    """What content safety found; complete for a choice when its `Finish` comes."""


class Gateway:
    """The use cases over one table. `draw` gives points in [0, 1) for traffic."""

    def __init__(
        self,
        table: Table,
        media: MediaFetcher | None = None,
        *,
        ledger: Ledger | None = None,
        quota: Quota | None = None,
        screening: Screening | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.table = table
        """Replaced whole when the plan changes; calls under way keep their route."""
        self._media = media
        self._ledger = ledger
        self._quota = quota
        self._screening = screening
        self._draw = draw
        self._mirrored: set[asyncio.Task[None]] = set()

    def new_account(self, request_id: str) -> Account:
        """Where the use of a request that has just arrived is noted."""
        return Account(self._ledger, request_id)

    def choose(self, context: Context, selector: Selector, operation: Operation) -> Route:
        """The route of a request; see `Table.resolve`. Permission is asked of the result."""
        draw = Draw(self._draw(), self._draw())
        route = self.table.resolve(selector, operation, draw, _permitted(context.principal))
        place = _place(route.endpoint, route.deployment)
        policy.check(context.principal, "call", place, operation)
        return route

    def describe(self, context: Context, selector: Selector) -> tuple[str, Deployment]:
        """The name and deployment that `/info` tells about; see `Table.describe`."""
        return self.table.describe(selector, _permitted(context.principal))

    def listed(self, context: Context, endpoint: str | None = None) -> list[tuple[str, Deployment]]:
        """The names that the caller can use as `model`."""
        return self.table.listed(endpoint, _permitted(context.principal))

    async def answer(self, context: Context, route: Route, call: GenerationCall) -> Answered:
        """The whole answer to `call` on `route`."""
        account, report = context.account, ScreenReport()
        screen = self._screen(context, route)
        reservation = await self._reserve(context, route, call)
        try:
            with route.deployment.admitted(), _ToldAs(route):
                call = await self._cleared(context, route, call, screen, report)
                deltas = await _deltas(route.deployment, call)
                if screen is not None:
                    deltas = await screen.cleared(deltas, report)
                account.note(deltas)
                return Answered(gathered(deltas), report)
        finally:
            if reservation is not None:
                await reservation.settle(account.charged_tokens)

    @asynccontextmanager
    async def streaming(
        self, context: Context, route: Route, call: GenerationCall
    ) -> AsyncIterator[Stream]:
        """Run `call` on `route`; leaving the context stops the generation and frees its slot."""
        account, report = context.account, ScreenReport()
        screen = self._screen(context, route)
        reservation = await self._reserve(context, route, call)
        try:
            with route.deployment.admitted(), _ToldAs(route):
                call = await self._cleared(context, route, call, screen, report)
                answer = _stream(route.deployment, call)
                if screen is not None:
                    answer = screen.watch(answer, report)
                async with aclosing(answer), aclosing(account.counted(answer)) as batches:
                    yield Stream(batches, report)
        finally:
            if reservation is not None:
                await reservation.settle(account.charged_tokens)

    async def embed(
        self, context: Context, route: Route, call: EmbedCall | ImageEmbedCall
    ) -> Embeddings:
        """The vectors of `call` on `route`."""
        reservation = await self._reserve(context, route, call)
        try:
            with route.deployment.admitted(), _ToldAs(route):
                self._mirror(context, route, call)
                vectors = await _vectors(route.deployment, call)
                context.account.usage = vectors.usage
                return vectors
        finally:
            if reservation is not None:
                await reservation.settle(context.account.charged_tokens)

    def _screen(self, context: Context, route: Route) -> Screen | None:
        screen = None if self._screening is None else self._screening.of(route)
        context.account.screened = screen is not None
        return screen

    async def _reserve(self, context: Context, route: Route, call: Call) -> Reservation | None:
        """Enter `call` into the ledger, and take from all quotas what it may use; None: from none.

        Whoever has the reservation settles it.
        """
        account = context.account
        account.begin(**_facts(context, route, call))
        scopes = _scopes(context.principal, route)
        if self._quota is None or not scopes:
            return None
        try:
            most = estimate_tokens(call, ASSUMED_ANSWER_TOKENS)
            with route.deployment.expecting():
                reservation = await self._quota.reserve(scopes, most)
        except QuotaExceeded as refused:
            account.rates = refused.rates
            raise
        account.rates = reservation.rates
        return reservation

    async def _cleared(
        self,
        context: Context,
        route: Route,
        call: GenerationCall,
        screen: Screen | None,
        report: ScreenReport,
    ) -> GenerationCall:
        """`call` as the model gets it, once nothing speaks against that; its copy is on its way."""
        call = await self._prepared(route, call)
        if screen is not None:
            await screen.check_prompt(call, report, context.principal.id)
        self._mirror(context, route, call)
        return call

    async def _prepared(self, route: Route, call: GenerationCall) -> GenerationCall:
        """`call` as the model gets it: held against what it can do, and with what it points to."""
        await route.deployment.ready_replica()
        check(call, _capabilities(route.deployment))
        call = _with_recommended(call, route.deployment.card)
        return await with_media(call, self._media) if isinstance(call, ChatCall) else call

    async def aclose(self) -> None:
        """End the copies that are still on their way."""
        for task in self._mirrored:
            task.cancel()
        await asyncio.gather(*self._mirrored, return_exceptions=True)

    def _mirror(self, context: Context, route: Route, call: Call) -> None:
        """Send a copy to the mirror, if there is one; nobody waits for it."""
        if route.mirror is None or len(self._mirrored) >= MAX_MIRRORED:
            return
        copy = Route(route.mirror, route.endpoint, reason="mirror")
        task = asyncio.get_running_loop().create_task(self._run_copy(context, copy, call))
        self._mirrored.add(task)
        task.add_done_callback(self._mirrored.discard)

    async def _run_copy(self, context: Context, route: Route, call: Call) -> None:
        account = Account(self._ledger, f"{context.id}-mirror")
        account.expect(context.principal, mirrored=True)
        status: int | None = None
        try:
            account.begin(**_facts(context, route, call))
            with route.deployment.admitted():
                if isinstance(call, EmbedCall | ImageEmbedCall):
                    account.usage = (await _vectors(route.deployment, call)).usage
                else:
                    prepared = await self._prepared(route, call)
                    account.note(await _deltas(route.deployment, prepared))
            status = 200
        except ZaffreError as error:  # the copy's trouble is nobody's but the operator's
            log.info("%s mirrored to %s: %s", context.id, route.deployment.full_name, error.message)
            status = 500
        finally:
            await account.close(status, 0)


class _ToldAs:
    """Failures behind a managed endpoint have a class, and so a status, of their own."""

    def __init__(self, route: Route) -> None:
        self._route = route

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        endpoint = self._route.endpoint
        if isinstance(error, EngineFailed) and endpoint and endpoint.plan.kind == "managed":
            raise ModelContainerFailed.restore(error) from error


async def _stream(deployment: Deployment, call: GenerationCall) -> Batches:
    """The deltas of `call` from whichever replica is there."""
    affinity = _affinity(deployment, call)
    replica, client = await deployment.ready_replica(affinity)
    again = True
    while True:
        try:
            with replica.borrowed():
                async with aclosing(client.stream(call)) as batches:
                    async for batch in batches:
                        if isinstance(usage := batch[-1], Usage):
                            replica.tokens += usage.completion_tokens
                        yield batch
            return
        except ModelUnreachable:  # nothing has reached it, so nothing is done twice
            if not again:
                raise
            again = False
            replica, client = await deployment.successor(client, affinity)


async def _deltas(deployment: Deployment, call: GenerationCall) -> list[Delta]:
    """All deltas of `call` from whichever replica is there."""
    affinity = _affinity(deployment, call)
    replica, client = await deployment.ready_replica(affinity)
    try:
        return await _answer(replica, client, call)
    except ModelUnreachable:
        replica, client = await deployment.successor(client, affinity)
        return await _answer(replica, client, call)


async def _answer(replica: Replica, client: ModelClient, call: GenerationCall) -> list[Delta]:
    with replica.borrowed():
        deltas = await client.answer(call)
        if deltas and isinstance(usage := deltas[-1], Usage):
            replica.tokens += usage.completion_tokens
        return deltas


async def _vectors(deployment: Deployment, call: EmbedCall | ImageEmbedCall) -> Embeddings:
    """The vectors of `call` from whichever replica is there."""
    replica, client = await deployment.ready_replica()
    check(call, _capabilities(deployment))
    try:
        return await _embed(replica, client, call)
    except ModelUnreachable:
        replica, client = await deployment.successor(client)
        return await _embed(replica, client, call)


async def _embed(
    replica: Replica, client: ModelClient, call: EmbedCall | ImageEmbedCall
) -> Embeddings:
    with replica.borrowed():
        if isinstance(call, EmbedCall):
            vectors = await client.embed(call)
        else:
            vectors = await client.embed_images(call)
        replica.tokens += vectors.usage.prompt_tokens
        return vectors


def _permitted(principal: Principal) -> Permitted:
    """What `principal` may know of, as a test on targets of the table."""

    def may_see(target: Target, deployment: Deployment) -> bool:
        endpoint = target if isinstance(target, Endpoint) else None
        return judge(principal, "call", _place(endpoint, deployment)) in ("yes", "credential")

    return may_see


def _place(endpoint: Endpoint | None, deployment: Deployment) -> Place:
    return Place(
        deployment=deployment.name,
        model=deployment.card.name,
        endpoint=endpoint.name if endpoint else None,
        auth_mode=endpoint.plan.auth_mode if endpoint else None,
    )


def _facts(context: Context, route: Route, call: Call) -> dict[str, str | int | bool]:
    """What the ledger is told of a request before it runs."""
    return {
        "endpoint": route.endpoint.name if route.endpoint else "",
        "deployment": route.deployment.name,
        "model": route.deployment.card.name,
        "operation": operation_of(call),
        "dialect": context.dialect,
        "stream": context.stream,
    }


def _scopes(principal: Principal, route: Route) -> list[Scope]:
    """Whose limits count for a call: the key's, the endpoint's, the deployment's."""
    endpoint, deployment = route.endpoint, route.deployment
    scopes = []
    if principal.limits is not None:
        scopes.append(Scope("key", principal.id, principal.limits))
    if endpoint is not None:
        limits = endpoint.plan.limits
        if limits is None and endpoint.plan.kind == "serverless":
            limits = SERVERLESS_LIMITS
        if limits is not None:
            scopes.append(Scope("endpoint", endpoint.name.lower(), limits))
    if deployment.plan.limits is not None:
        scopes.append(Scope("deployment", deployment.full_name.lower(), deployment.plan.limits))
    return scopes


def _affinity(deployment: Deployment, call: GenerationCall) -> int:
    """The same number for calls that begin alike, and so share what is cached of their prefix."""
    if len(deployment.replicas) < 2:
        return 0
    first = call.prompts[0] if isinstance(call, CompletionCall) else call.messages[0]
    if isinstance(first, UserMessage):
        first = next((part.text for part in first.parts if isinstance(part, TextPart)), "")
    start = str(getattr(first, "text", first))[:AFFINITY_CHARACTERS]
    return zlib.crc32(start.encode(errors="replace")) or 1


def _with_recommended(call: GenerationCall, card: ModelCard) -> GenerationCall:
    """`call` with what the model's makers recommend where the client did not choose."""
    sampling = call.sampling
    if sampling.temperature is None:
        sampling = structs.replace(sampling, temperature=card.temperature)
    if sampling.top_p is None:
        sampling = structs.replace(sampling, top_p=card.top_p)
    return structs.replace(call, sampling=sampling)


def _capabilities(deployment: Deployment) -> Capabilities:
    if (able := deployment.capabilities) is None:
        raise EngineFailed(f"Model '{deployment.name}' has not said what it can do.")
    return able
