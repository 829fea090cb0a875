"""Filter models: the deployments and servers that content safety's filters ask."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from zaffre.config.settings import ConfigurationError
from zaffre.core.calls import ChatCall, EmbedCall
from zaffre.core.deltas import Deltas, Embeddings
from zaffre.core.errors import ZaffreError
from zaffre.core.plan import Plan
from zaffre.core.safety import DEFAULT, ContentSafety, Policy, RemoteFilterSettings
from zaffre.routing.deployments import Deployment
from zaffre.routing.table import Draw, Selector, Table
from zaffre.safety.policies import Outside, Screens
from zaffre.safety.post import HttpPost
from zaffre.service.screening import policy_of

log = logging.getLogger("zaffre.safety")


class FilterModels:
    """Makes the screens of a configuration, and sees to it that whom they ask is there.

    `root_policy` is that of calls outside endpoints; `own` gives the embedding deployment of the
    server's own, for plans that have none.
    """

    def __init__(
        self,
        section: ContentSafety,
        *,
        root_policy: str,
        installed: Callable[[str], bool],
        table: Callable[[], Table],
        own: Callable[[], Awaitable[Deployment]],
    ) -> None:
        self._section = section
        self._root_policy = root_policy
        self._installed, self._table, self._own = installed, table, own
        self._post = None if section.remote is None else HttpPost(*_address(section.remote))
        self._warming: asyncio.Task[None] | None = None

    def screens(self) -> Screens:
        """The screens over them. Raises `ConfigurationError`."""
        outside = Outside(
            embed=self._embed,
            ask=None if self._section.judge is None else self._ask,
            post=self._post,
        )
        return Screens(self._section, outside)

    def check(self, plan: Plan) -> None:
        """Raises `ConfigurationError` when a policy in use asks a model that is not there."""
        used = {policy_of(endpoint) for endpoint in plan.endpoints} | {self._root_policy}
        policies = {DEFAULT: Policy(), **self._section.policies}
        filters = {f for name in used if name in policies for f in policies[name].filters}
        names = {d.name.lower() for d in plan.deployments if d.endpoint is None}
        wanted = self._section.embedding
        if "classifier" in filters and wanted.lower() not in names:
            if not self._installed(wanted):
                raise ConfigurationError(
                    f"Content safety needs the model '{wanted}': zaffre pull {wanted}. Without it:"
                    " content_safety: off, at the endpoint."
                )
            self._warm()
        if "judge" in filters and str(self._section.judge).lower() not in names:
            raise ConfigurationError(f"No deployment is called '{self._section.judge}' (judge).")

    async def aclose(self) -> None:
        """Close all connections."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        if self._post is not None:
            await self._post.aclose()

    def _warm(self) -> None:
        """Load the model now: the first prompt must not wait for it longer than a judgement may."""
        if self._warming is None:
            self._warming = asyncio.get_running_loop().create_task(self._load())

    async def _load(self) -> None:
        try:
            await (await self._own()).ready_replica()
        except ZaffreError as error:
            log.warning("Content safety's model is not there: %s", error.message)

    async def _embed(self, call: EmbedCall) -> Embeddings:
        deployment = await self._embedding()
        with deployment.admitted():
            replica, client = await deployment.ready_replica()
            with replica.borrowed():
                return await client.embed(call)

    async def _embedding(self) -> Deployment:
        """The deployment of that name, or the server's own."""
        name = self._section.embedding
        for deployment in self._table().deployments():
            if deployment.plan.endpoint is None and deployment.name.lower() == name.lower():
                return deployment
        return await self._own()

    async def _ask(self, call: ChatCall) -> Deltas:
        """The judge's answer: no account, no screen."""
        selector = Selector(deployment=self._section.judge)
        deployment = self._table().resolve(selector, "chat", Draw(0, 0)).deployment
        with deployment.admitted():
            replica, client = await deployment.ready_replica()
            with replica.borrowed():
                for delta in await client.answer(call):
                    yield delta


def _address(remote: RemoteFilterSettings) -> tuple[str, str]:
    """The server's URL and its key. Raises `ConfigurationError`."""
    key = ""
    if remote.key_env is not None:
        key = os.environ.get(remote.key_env, "")
    elif remote.key_file is not None:
        try:
            key = Path(remote.key_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            key = ""
    if not key and (remote.key_env or remote.key_file):
        place = remote.key_env or remote.key_file
        raise ConfigurationError(f"content_safety.remote: no key is in '{place}'.")
    return remote.url, key
