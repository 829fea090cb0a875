"""Images and sound clips that a conversation points to are brought in before an engine sees it."""

from msgspec import structs

from zaffre.core.calls import ChatCall, MediaReference, Message, Part, UserMessage
from zaffre.core.errors import InvalidParameter, Location
from zaffre.core.media import MediaFetcher

MAX_REFERENCES = 16
"""Per request."""


async def with_media(call: ChatCall, fetcher: MediaFetcher | None) -> ChatCall:
    """`call` with everything that it points to. No engine ever fetches anything by itself.

    Raises `InvalidParameter` when there is no `fetcher`, or when something cannot be had.
    """
    users = [message for message in call.messages if isinstance(message, UserMessage)]
    count = sum(isinstance(part, MediaReference) for user in users for part in user.parts)
    if count == 0:
        return call
    if count > MAX_REFERENCES:
        raise InvalidParameter(
            ("messages",), count, f"At most {MAX_REFERENCES} media addresses per request."
        )
    messages = [
        await _message(message, fetcher, ("messages", position))
        for position, message in enumerate(call.messages)
    ]
    return structs.replace(call, messages=tuple(messages))


async def _message(message: Message, fetcher: MediaFetcher | None, where: Location) -> Message:
    if not isinstance(message, UserMessage):
        return message
    parts = [
        await _part(part, fetcher, (*where, "content", number))
        for number, part in enumerate(message.parts)
    ]
    return UserMessage(tuple(parts))


async def _part(part: Part, fetcher: MediaFetcher | None, where: Location) -> Part:
    if not isinstance(part, MediaReference):
        return part
    if fetcher is None:
        raise InvalidParameter(
            where, part.url, f"Remote {part.kind}s are not fetched here; send a data URL instead."
        )
    return await fetcher.fetch(part, where)
