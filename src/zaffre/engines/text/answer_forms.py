"""The schema that an answer is decoded under, the same for every engine that writes text."""

from typing import Any

from zaffre.core.calls import ChatCall, JsonSchema, NamedTool
from zaffre.core.errors import Location
from zaffre.engines.text.schemas import ANY_OBJECT, RESPONSE_SCHEMA, check_schema
from zaffre.engines.text.short_texts import shortened
from zaffre.engines.text.tool_calls import call_schema


def must_call(call: ChatCall) -> bool:
    """Whether the answer has to be a tool call."""
    return bool(call.tools) and (
        call.tool_choice == "required" or isinstance(call.tool_choice, NamedTool)
    )


def answer_schema(
    call: ChatCall, longest_text: int | None
) -> tuple[dict[str, Any], Location] | None:
    """The schema, and where in the request it comes from; None when the answer is free text.

    `longest_text` is the card's `longest_json_text`. Raises `InvalidParameter` for a schema beyond
    the bounds.
    """
    location: Location = ("tools",)
    if must_call(call):
        schema = call_schema(call)
    elif call.format == "json_object":
        return ANY_OBJECT, ("response_format",)
    elif isinstance(call.format, JsonSchema):
        schema, location = call.format.schema, RESPONSE_SCHEMA
        check_schema(schema, location)
    else:
        return None
    return (schema if longest_text is None else shortened(schema, longest_text)), location
