"""The one place where JSON becomes values and values become JSON."""

import re
from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")
_LOCATION = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]|\[(?P<any>\.\.\.)\]")
_encoder = msgspec.json.Encoder()
MAX_REREAD_BYTES = 64 * 1024


class MalformedError(ValueError):
    """Bytes that are not JSON, or JSON that is not the struct asked for.

    `location` leads to the value in question: field names and list positions from the root.
    `value` is what stands there; None in a large body, which is not worth a second reading.
    """

    def __init__(
        self, message: str, location: tuple[str | int, ...] = (), value: object = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.value = value


def encode(value: object) -> bytes:
    """JSON for `value`, in UTF-8 on one line; floats keep their shortest form.

    Raises `MalformedError` for what was decoded just within Python's bound on recursion, but has to
    be encoded a few calls deeper.
    """
    try:
        return _encoder.encode(value)
    except RecursionError:
        raise MalformedError("The body is nested too deeply.") from None


def plain(value: object) -> Any:  # noqa: ANN401 - dictionaries, lists and scalars
    """`value` as plain Python, sets sorted, so that equal values give equal bytes."""
    return msgspec.to_builtins(value, order="deterministic")


def decode(content: bytes | msgspec.Raw, kind: type[T]) -> T:
    """A `kind` from JSON. Raises `MalformedError`, whatever the bytes."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as invalid:
        raise _located(str(invalid), content) from None
    except msgspec.DecodeError as broken:
        raise MalformedError(f"The body is not valid JSON: {broken}.") from None
    except UnicodeDecodeError:
        raise MalformedError("The body is not valid UTF-8.") from None
    except RecursionError:
        raise MalformedError("The body is nested too deeply.") from None


def decode_closed(content: bytes, kind: type[T]) -> T | None:
    """A `kind` from JSON that has no other keys than its fields at the root; else None.

    What is wrong then, `decode` and `decode_root` say.
    """
    try:
        found: T = msgspec.json.decode(content, type=_closed(cast("Hashable", kind)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found


@cache
def _closed(kind: Hashable) -> Any:  # noqa: ANN401 - a class made here
    """`kind`, whose decoding fails on keys that it has no field for."""
    base = cast("type[msgspec.Struct]", kind)
    return msgspec.defstruct(base.__name__, (), bases=(base,), forbid_unknown_fields=True)


def decode_root(content: bytes) -> dict[str, msgspec.Raw]:
    """The root keys of a JSON object, their values still undecoded. Raises `MalformedError`."""
    return decode(content, dict[str, msgspec.Raw])


def decode_value(content: msgspec.Raw) -> Any:  # noqa: ANN401 - any JSON value is possible here
    """Any JSON value as plain Python. Raises `MalformedError`."""
    return decode(content, object)


def _located(text: str, content: bytes | msgspec.Raw) -> MalformedError:
    match = _LOCATION.search(text)
    if match is None:
        return MalformedError(f"{text}.")
    location: list[str | int] = []
    for step in _STEP.finditer(match["path"]):
        if step["name"] is not None:
            location.append(step["name"])
        elif step["index"] is not None:
            location.append(int(step["index"]))
    where = ".".join(map(str, location)) or "body"
    message = f"Invalid value for '{where}': {text[: match.start()]}."
    return MalformedError(message, tuple(location), _value_at(location, content))


def _value_at(location: list[str | int], content: bytes | msgspec.Raw) -> object:
    if len(bytes(content)) > MAX_REREAD_BYTES:
        return None
    try:
        value: Any = msgspec.json.decode(content)
        for step in location:
            value = value[step]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return None  # there is more wrong with it than the type of one value
    return value
