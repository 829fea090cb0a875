"""What of a call or an answer is to be judged: every text and image that somebody would see."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct, structs

from zaffre.core.calls import (
    AssistantMessage,
    ChatCall,
    CompletionCall,
    GenerationCall,
    ImagePart,
    JsonSchema,
    Message,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from zaffre.core.safety import Passage

REPEATED = ("system", "assistant")
"""Sources whose texts an application sends again and again. What users say may be said to an
application by many, none of whom is to learn by an answer's time what another has said."""


class Prompt(Struct, frozen=True):
    """One prompt of a call."""

    passages: tuple[Passage, ...]
    images: tuple[ImagePart, ...] = ()
    unreadable: bool = False
    """Whether it has parts that no filter judges: sound, or a model's own token ids."""


def prompts_of(call: GenerationCall, owner: str = "") -> list[Prompt]:
    """The prompts of `call`: one for a chat, one or more for a completion.

    Passages that are likely to come again belong to `owner`, who sent them; see `Passage.owner`.
    """
    match call:
        case ChatCall():
            return [_conversation(call, owner)]
        case CompletionCall():
            suffix = [Passage(call.suffix, "user")] if call.suffix else []
            return [_text_prompt(prompt, suffix) for prompt in call.prompts]


def tool_call_text(call: ToolCall) -> str:
    """What a tool call says: its name, its arguments, and the texts in them without escapes."""
    try:
        arguments = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        return f"{call.name}\n{call.arguments}"
    return "\n".join([call.name, call.arguments, *_strings(arguments)])


def _text_prompt(prompt: str | tuple[int, ...], suffix: list[Passage]) -> Prompt:
    if isinstance(prompt, str):
        return Prompt(_said([Passage(prompt, "user"), *suffix]))
    return Prompt(_said(suffix), unreadable=True)


def _conversation(call: ChatCall, owner: str) -> Prompt:
    passages = [passage for message in call.messages for passage in _message(message)]
    passages += [Passage(_described(tool), "system") for tool in call.tools]
    if isinstance(call.format, JsonSchema):
        passages.append(Passage("\n".join(_strings(call.format.schema)), "system"))
    if owner:
        passages = [_owned(passage, owner) for passage in passages]
    shown = [m.parts for m in call.messages if isinstance(m, UserMessage)]
    parts = [part for parts in shown for part in parts if not isinstance(part, TextPart)]
    images = tuple(part for part in parts if isinstance(part, ImagePart))
    return Prompt(_said(passages), images, unreadable=len(images) < len(parts))


def _message(message: Message) -> Iterator[Passage]:
    match message:
        case SystemMessage(text=text):
            yield Passage(text, "system")
        case UserMessage(parts=parts):
            texts = [part.text for part in parts if isinstance(part, TextPart)]
            yield Passage("\n".join(texts), "user")
            if len(texts) > 1:  # templates join parts in either way: no word may hide on a seam
                yield Passage("".join(texts), "user")
        case AssistantMessage(text=text, tool_calls=calls):
            yield Passage(text, "assistant")
            yield from (Passage(tool_call_text(call), "assistant") for call in calls)
        case ToolMessage(text=text):
            yield Passage(text, "tool")


def _owned(passage: Passage, owner: str) -> Passage:
    return structs.replace(passage, owner=owner) if passage.source in REPEATED else passage


def _described(tool: Tool) -> str:
    return "\n".join([tool.name, tool.description, *_strings(tool.parameters)])


def _strings(value: object) -> Iterator[str]:
    """All texts in a JSON value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _strings(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)


def _said(passages: list[Passage]) -> tuple[Passage, ...]:
    return tuple(passage for passage in passages if passage.text.strip())
