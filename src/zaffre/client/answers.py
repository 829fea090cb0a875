"""Reads answers and chunks, and refuses what only looks like one."""

from typing import TypeVar

from zaffre.client.errors import InvalidAnswer
from zaffre.wire import codec
from zaffre.wire.chat import ChatChunk, ChatResponse
from zaffre.wire.completions import CompletionResponse

T = TypeVar("T")
AnswerT = TypeVar("AnswerT", ChatResponse, CompletionResponse)


def read_answer(content: bytes, kind: type[T], request_id: str | None) -> T:
    """The `kind` in an answer's or a chunk's JSON. Raises `InvalidAnswer`."""
    try:
        return codec.decode(content, kind)
    except codec.MalformedError as malformed:
        raise InvalidAnswer(
            f"The server's answer is not of this API. {malformed.message}", request_id=request_id
        ) from None


def with_choices(answer: AnswerT) -> AnswerT:
    """`answer`, which must have a choice: a body without one is an error in disguise."""
    if not answer.choices:
        raise InvalidAnswer("The server's answer has no choices.")
    return answer


def chat_text(chunk: ChatChunk) -> str:
    """What a chunk adds to the text of the first choice."""
    contents = (choice.delta.content for choice in chunk.choices if choice.index == 0)
    return "".join(content for content in contents if isinstance(content, str))


def completion_text(chunk: CompletionResponse) -> str:
    """What a chunk adds to the text of the first choice."""
    return "".join(choice.text for choice in chunk.choices if choice.index == 0)
