"""The one place where JSON becomes values and values become JSON."""

import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
_LOCATION = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]|\[(?P<any>\.\.\.)\]")
_encoder = msgspec.json.Encoder()


class MalformedError(ValueError):
    """Bytes that are not JSON, or JSON that is not the struct asked for.

    `location` leads to the value in question: field names and list positions from the root.
    """

    def __init__(self, message: str, location: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.location = location


def encode(value: object) -> bytes:
    """JSON for `value`, in UTF-8 on one line; floats keep their shortest form."""
    return _encoder.encode(value)


def plain(value: object) -> Any:  # noqa: ANN401 - dictionaries, lists and scalars
    """`value` as plain Python, sets sorted, so that equal values give equal bytes."""
    return msgspec.to_builtins(value, order="deterministic")


def decode(content: bytes | msgspec.Raw, kind: type[T]) -> T:
    """A `kind` from JSON. Raises `MalformedError`, whatever the bytes."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as invalid:
        raise _located(str(invalid)) from None
    except msgspec.DecodeError as broken:
        raise MalformedError(f"The body is not valid JSON: {broken}.") from None
    except UnicodeDecodeError:
        raise MalformedError("The body is not valid UTF-8.") from None
    except RecursionError:
        raise MalformedError("The body is nested too deeply.") from None


def decode_root(content: bytes) -> dict[str, msgspec.Raw]:
    """The root keys of a JSON object, their values still undecoded. Raises `MalformedError`."""
    return decode(content, dict[str, msgspec.Raw])


def decode_value(content: msgspec.Raw) -> Any:  # noqa: ANN401 - any JSON value is possible here
    """Any JSON value as plain Python. Raises `MalformedError`."""
    return decode(content, object)


def _located(text: str) -> MalformedError:
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
    return MalformedError(f"Invalid value for '{where}': {text[: match.start()]}.", tuple(location))
