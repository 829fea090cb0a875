"""Token counts for servers that do not count. Estimates, and marked as such."""

from zaffre.core.calls import (
    AssistantMessage,
    Call,
    ChatCall,
    CompletionCall,
    EmbedCall,
    ImageEmbedCall,
    Message,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from zaffre.wire import codec

BYTES_PER_TOKEN = 4
"""Of UTF-8: the usual rule of thumb."""
MESSAGE_TOKENS = 4
"""What a chat template puts around a message."""
MEDIA_TOKENS = 512
"""An image or sound clip."""


def size_bytes(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def tokens_of(length_bytes: int) -> int:
    """Tokens of a text with that many bytes of UTF-8, rounded up."""
    return -(-length_bytes // BYTES_PER_TOKEN)


def prompt_tokens(call: Call) -> int:
    """Tokens of what `call` sends, at least 1."""
    match call:
        case ChatCall(messages=messages, tools=tools):
            said = sum(_message_tokens(message) for message in messages)
            size = sum(len(tool.description) + len(codec.encode(tool.parameters)) for tool in tools)
            count = said + tokens_of(size)
        case CompletionCall(prompts=prompts):
            count = sum(tokens_of(size_bytes(p)) if isinstance(p, str) else len(p) for p in prompts)
        case EmbedCall(texts=texts):
            count = sum(max(1, tokens_of(size_bytes(text))) for text in texts)
        case ImageEmbedCall(inputs=inputs):
            count = sum(MEDIA_TOKENS + tokens_of(size_bytes(item.text or "")) for item in inputs)
    return max(1, count)


def _message_tokens(message: Message) -> int:
    match message:
        case UserMessage(parts=parts):
            texts = [part.text for part in parts if isinstance(part, TextPart)]
            media = MEDIA_TOKENS * (len(parts) - len(texts))
            return MESSAGE_TOKENS + media + sum(tokens_of(size_bytes(text)) for text in texts)
        case AssistantMessage(text=text, tool_calls=calls):
            size = size_bytes(text) + sum(
                size_bytes(call.name) + size_bytes(call.arguments) for call in calls
            )
            return MESSAGE_TOKENS + tokens_of(size)
        case SystemMessage(text=text) | ToolMessage(text=text):
            return MESSAGE_TOKENS + tokens_of(size_bytes(text))
