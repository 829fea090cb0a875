"""Calls as the conversations that chat templates take, with their pictures decoded."""

from collections.abc import Sequence
from json import loads
from typing import Any

from zaffre.core.calls import (
    AssistantMessage,
    ImagePart,
    Message,
    Part,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from zaffre.core.errors import InvalidParameter, Location
from zaffre.engines.images import MAX_PIXELS, decode_image
from zaffre.engines.openvino.wire import Picture

MAX_PICTURES = 16
"""Of one conversation: each stops everybody's answers while it is looked at."""


def template_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as chat templates take them; see `Conversation` for those with pictures."""
    names = {
        made.id: made.name
        for message in messages
        if isinstance(message, AssistantMessage)
        for made in message.tool_calls
    }
    return [_message(message, names) for message in messages]


def decode_pictures(messages: Sequence[Message]) -> tuple[Picture, ...]:
    """The pictures of a conversation, in order. Blocks while it decodes them.

    Raises `InvalidParameter` for an image that cannot be read, and when they are too many.
    """
    found: list[tuple[Location, bytes]] = [
        (("messages", position, "content", number), part.content)
        for position, message in enumerate(messages)
        if isinstance(message, UserMessage)
        for number, part in enumerate(message.parts)
        if isinstance(part, ImagePart)
    ]
    pictures: list[Picture] = []
    pixels = 0
    for place, content in found:
        if len(pictures) == MAX_PICTURES:
            raise InvalidParameter(place, "image", f"There may be {MAX_PICTURES} images at most.")
        image = decode_image(content, place)
        pixels += image.width * image.height
        if pixels > MAX_PIXELS:
            message = f"The images have more than {MAX_PIXELS} pixels together."
            raise InvalidParameter(place, "image", message)
        pictures.append(Picture(image.width, image.height, image.tobytes()))
    return tuple(pictures)


def _message(message: Message, names: dict[str, str]) -> dict[str, Any]:
    match message:
        case SystemMessage(text=text):
            return {"role": "system", "content": text}
        case UserMessage(parts=parts):
            if any(isinstance(part, ImagePart) for part in parts):
                return {"role": "user", "content": [_part(part) for part in parts]}
            texts = [part.text for part in parts if isinstance(part, TextPart)]
            return {"role": "user", "content": "\n".join(texts)}
        case AssistantMessage(text=text, tool_calls=calls):
            made = {"tool_calls": [_made(call) for call in calls]} if calls else {}
            return {"role": "assistant", "content": text, **made}
        case ToolMessage(tool_call_id=number, text=text):
            named = {"name": names[number]} if number in names else {}
            return {"role": "tool", "tool_call_id": number, "content": text, **named}


def _part(part: Part) -> dict[str, Any]:
    return {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}


def _made(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}
