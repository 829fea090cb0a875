"""Images and sound clips on their way to llama.cpp, which decodes whatever it is given."""

from collections.abc import Sequence

from msgspec import structs

from zaffre.core.calls import AudioPart, ImagePart, Message, Part, UserMessage
from zaffre.core.errors import InvalidParameter, Location
from zaffre.engines.images import plain_file

MAX_SOUND_BYTES = 16 * 1024 * 1024
"""Of one clip: 8 minutes of 16 kHz WAV, hours of MP3; llama.cpp reads it as 64 kB a second."""
SOUND_FORMATS = ("wav", "mp3")


def plain_media(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with images that llama.cpp reads as every other engine does.

    By itself it knows neither WebP nor which side of a photograph is up. Blocks while images are
    decoded. Raises `InvalidParameter` at the part that is not what it says, or is too large.
    """
    return tuple(
        structs.replace(
            message,
            parts=tuple(
                _plain(part, ("messages", position, "content", number))
                for number, part in enumerate(message.parts)
            ),
        )
        if isinstance(message, UserMessage)
        else message
        for position, message in enumerate(messages)
    )


def media_of(messages: Sequence[Message]) -> list[bytes]:
    """The files of all images and clips, in the order in which they stand."""
    return [
        part.content
        for message in messages
        if isinstance(message, UserMessage)
        for part in message.parts
        if isinstance(part, ImagePart | AudioPart)
    ]


def _plain(part: Part, place: Location) -> Part:
    if isinstance(part, ImagePart):
        return structs.replace(part, content=plain_file(part.content, place))
    if isinstance(part, AudioPart):
        _check_sound(part, place)
    return part


def _check_sound(part: AudioPart, place: Location) -> None:
    """llama.cpp goes by a file's first bytes: what is no sound to it is an image."""
    content = part.content
    if len(content) > MAX_SOUND_BYTES:
        trouble = f"The clip has more than {MAX_SOUND_BYTES} bytes."
        raise InvalidParameter(place, "input_audio", trouble)
    match part.format:
        case "wav":
            honest = content[:4] == b"RIFF" and content[8:12] == b"WAVE"
        case "mp3":
            # A tag, or the eleven bits that every frame begins with.
            honest = content[:3] == b"ID3" or (
                len(content) > 1 and content[0] == 0xFF and content[1] >= 0xE0
            )
        case _:
            kinds = " or ".join(SOUND_FORMATS)
            raise InvalidParameter(place, part.format, f"Sound comes as {kinds}.")
    if not honest:
        raise InvalidParameter(place, "input_audio", f"This is no {part.format} file.")
