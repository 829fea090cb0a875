"""State: the plan on disk, so that what was changed while a server ran outlives it.

HOME/plan.json      {"version": 1, "plan": {…}, "said": {…}}
"""

import os
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from zaffre.config.settings import ConfigurationError
from zaffre.core.plan import Plan

STATE_FILE = "plan.json"
STATE_VERSION = 1
MAX_STATE_BYTES = 64 * 1024 * 1024


class SavedPlan(Struct, frozen=True):
    """A plan, and what the files said when it was made."""

    plan: Plan
    said: Plan


class _State(Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    plan: Plan
    said: Plan = Plan()


class _Version(Struct, frozen=True):
    version: int


class PlanStore:
    """The plan of the server whose files are in `home`, which need not exist yet."""

    def __init__(self, home: Path) -> None:
        self.path = home / STATE_FILE

    def load(self) -> SavedPlan | None:
        """The plan that was saved last; None before the first. Raises `ConfigurationError`."""
        try:
            if self.path.stat().st_size > MAX_STATE_BYTES:
                raise self._damaged(f"it is larger than {MAX_STATE_BYTES} bytes")
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{self.path}: {error.strerror}.") from None
        try:
            version = msgspec.json.decode(content, type=_Version).version
            if version != STATE_VERSION:
                raise self._damaged(f"it is of version {version}, and this Zaffre reads version 1")
            state = msgspec.json.decode(content, type=_State)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from None
        return SavedPlan(state.plan, state.said)

    def save(self, saved: SavedPlan) -> None:
        """Put a plan in the place of the last one: after a crash one of both is there, whole.

        It blocks until the disk has it. Raises `ConfigurationError` when it cannot be written.
        """
        state = _State(STATE_VERSION, saved.plan, saved.said)
        content = msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _replace(self.path, content)
        except OSError as error:
            raise ConfigurationError(
                f"{self.path}: the plan cannot be saved: {error.strerror}."
            ) from None

    def _damaged(self, cause: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path} cannot be used: {cause}. It holds what was changed while the server ran;"
            " move it away to start from the files alone."
        )


def _replace(path: Path, content: bytes) -> None:
    """Write, then rename, and wait for the disk after both."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
