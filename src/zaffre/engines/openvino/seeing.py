"""Prompts of models that see, which the library takes as text and pictures and in no other way.

Seen in openvino-genai 2026.4: prompts of such a model that come as tokens make a step fail, and
`echo` ends the process. Only the library knows how many tokens a picture becomes; it tells when a
generation is over, and holds a prompt against `max_length` before that. Pictures beyond the places
in a prompt are passed over in silence, so there is one place for each.
"""

import numpy as np
import openvino as ov
from msgspec import Struct

from zaffre.engines.openvino.model import LoadedModel, TemplateRefusedError
from zaffre.engines.openvino.wire import Conversation, Picture, Prompt, Text, TokenIds


class SeenPrompt(Struct, frozen=True):
    """A prompt as the library takes it."""

    text: str
    pictures: list[ov.Tensor]


def read_seen(model: LoadedModel, prompt: Prompt) -> SeenPrompt:
    """The prompt for a model that sees. Raises `TemplateRefusedError`."""
    pictures: tuple[Picture, ...] = ()
    match prompt:
        case Conversation(pictures=pictures) as conversation:
            text = model.render_seen(conversation)
        case Text(text=text):
            pass
        case TokenIds():
            raise TemplateRefusedError("A model that sees takes prompts as text only.")
    if not text and not model.start:
        text = model.decode((model.vocabulary.first,))
    return SeenPrompt(text, list(map(_tensor, pictures)))


def is_too_long(error: RuntimeError) -> bool:
    """Whether the library refused a prompt for its length."""
    return "'max_length'" in str(error)


def reason_against(prompt: SeenPrompt, error: RuntimeError) -> str:
    """What the library has against a prompt, in its own words."""
    said = str(error).strip().splitlines()[-1]
    what = "these images" if prompt.pictures else "this prompt"
    return f"The model does not take {what}: {said}"


def _tensor(picture: Picture) -> ov.Tensor:
    pixels = np.frombuffer(picture.pixels, np.uint8)
    return ov.Tensor(pixels.reshape(1, picture.height, picture.width, 3))
