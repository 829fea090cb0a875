"""Options of an engine, checked against what it knows before its library sees them."""

from collections.abc import Mapping

from msgspec import Struct

from zaffre.core.errors import EngineFailed

Value = str | int | float | bool


class Option(Struct, frozen=True):
    """One option: the type of its value, and its bounds where it is a number."""

    type: type[int] | type[str] | type[bool]
    low: int = 0
    high: int = 0


def checked_options(
    engine: str, known: Mapping[str, Option], given: Mapping[str, Value]
) -> dict[str, str | int]:
    """The `given` options. Raises `EngineFailed` for a name or value that `engine` cannot use."""
    checked: dict[str, str | int] = {}
    for name, value in given.items():
        option = known.get(name)
        if option is None:
            raise EngineFailed(
                f"The {engine} engine has no option '{name}'; it has: {', '.join(known)}."
            )
        if isinstance(value, float) or type(value) is not option.type:  # True is an int, too
            raise EngineFailed(f"The option '{name}' must be of type {option.type.__name__}.")
        if type(value) is int and not option.low <= value <= option.high:
            raise EngineFailed(
                f"The option '{name}' must be between {option.low} and {option.high}, not {value}."
            )
        checked[name] = value
    return checked
