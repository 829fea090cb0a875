"""Quota accounts in Redis or Valkey, for gateways on several machines."""

import asyncio
import math
import random
from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from zaffre.metering.shared_quota import Change, StoreAway, decode_account, encode_account

PREFIX = "{zaffre:quota}:"
"""The braces keep all keys on one node of a cluster, where one script may change them together."""
TIMEOUT_S = 5.0
MAX_TRIES = 200
"""Each failed try is another gateway's success."""
PAUSE_S = 0.002
_SWAP = """
for i = 1, #KEYS do
    if (redis.call('GET', KEYS[i]) or '') ~= ARGV[i] then return 0 end
end
for i = 1, #KEYS do
    redis.call('SET', KEYS[i], ARGV[#KEYS + i], 'EX', ARGV[2 * #KEYS + i])
end
return 1
"""
_AWAY = (RedisError, OSError, TimeoutError)


class RedisAccounts:
    """An `AccountStore` in the Redis or Valkey at `url`: see `zaffre.metering.stores`."""

    def __init__(self, url: str) -> None:
        # The client knows one name for both.
        url = url.replace("valkey://", "redis://", 1).replace("valkeys://", "rediss://", 1)
        self._redis = Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        self._swap = self._redis.register_script(_SWAP)

    def change_now(self, names: Sequence[str], change: Change, now: float) -> bool:
        """Never: it is a round trip away; see `AccountStore`."""
        return False

    async def change(self, names: Sequence[str], change: Change, now: float) -> None:
        """Change accounts if nobody else did meanwhile, and else again; see `AccountStore`."""
        try:
            for attempt in range(MAX_TRIES):
                if await self._try(names, change, now):
                    return
                await asyncio.sleep(random.random() * PAUSE_S * min(attempt, 10))  # noqa: S311
        except _AWAY as trouble:
            raise StoreAway(str(trouble)) from None
        raise StoreAway("Too many gateways change the same account.")

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()

    async def _try(self, names: Sequence[str], change: Change, now: float) -> bool:
        keys = [PREFIX + name for name in names]
        found = [
            content or b"" for content in cast("list[bytes | None]", await self._redis.mget(keys))
        ]
        accounts = {
            name: decode_account(content)
            for name, content in zip(names, found, strict=True)
            if content
        }
        change(accounts)
        new = [encode_account(accounts[name]) for name in names]
        left_s = [max(1, math.ceil(accounts[name].expires_s - now)) for name in names]
        return bool(await self._swap(keys, [*found, *new, *left_s]))
