"""Replicas: what serves a deployment, and the calls each is on."""

from collections.abc import Callable
from typing import Literal

from zaffre.core.capabilities import Capabilities
from zaffre.core.client import ModelClient

ReplicaState = Literal["starting", "ready", "failed", "stopped"]


class Replica:
    """One worker or group of foreign servers. `on_change` hears of every change of state."""

    def __init__(self, name: str, on_change: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.state: ReplicaState = "starting"
        self.cause = ""
        """Why it failed, when it did."""
        self.client: ModelClient | None = None
        self.capabilities: Capabilities | None = None
        """What it said at its last start."""
        self.calls = 0
        self.calls_elsewhere = 0
        """Those of other gateway processes, as they last said."""
        self.restarts = 0
        self.tokens = 0
        """Completion tokens, or embedded ones, since it began."""
        self.pid: int | None = None
        self._on_change = on_change

    def serves(self, client: ModelClient, capabilities: Capabilities) -> None:
        """It is up: calls go to `client`."""
        if self.state != "stopped":
            self.capabilities = capabilities
            self._became("ready", client)

    def ended(self, cause: str) -> None:
        """It went down, or never came up.

        One that never ran will hardly run next time; one that did is coming back.
        """
        self.pid = None
        if self.state == "stopped":
            return
        self.restarts += 1
        self._became("failed" if self.capabilities is None else "starting", cause=cause)

    def hides(self, cause: str) -> None:
        """It runs and does not answer: calls go elsewhere or wait."""
        self._became("starting", cause=cause)

    def retire(self) -> None:
        """Take no more calls; those it is on go on."""
        self._became("stopped")

    def borrowed(self) -> "_Loan":
        """Count a call in and out."""
        return _Loan(self)

    def give_back(self) -> None:
        """A call has ended. For `borrowed`."""
        self.calls -= 1
        if self.state == "stopped":
            self._on_change()  # somebody may wait for its last call to end

    def _became(
        self, state: ReplicaState, client: ModelClient | None = None, cause: str = ""
    ) -> None:
        self.state, self.client, self.cause = state, client, cause
        self._on_change()


class _Loan:
    """A call on a replica; a class because a generator would cost four times as much."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def __enter__(self) -> None:
        self._replica.calls += 1

    def __exit__(self, *_: object) -> None:
        self._replica.give_back()
