"""The other gateway processes on this port, as far as the fleet must know of them."""

from collections.abc import Collection
from typing import Protocol


class Others(Protocol):
    """Gateway processes that call what the fleet runs. A holding is a deployment's or a replica's
    id (`Running.id`, `Running.id_of`)."""

    async def released(self, holdings: Collection[str], version: int) -> None:
        """Wait until all have seen the fleet's `version` and none has a call on `holdings`.

        Ends after a bound that is the implementation's.
        """


class Alone:
    """There are no others."""

    async def released(self, _holdings: Collection[str], _version: int) -> None:
        """At once."""
