"""What a call may cost at most, before it runs: what quotas reserve, and give back in the end.

The prompt is estimated without its model's tokenizer. When the estimate is too low, settling
charges the rest.
"""

from zaffre.core.calls import (
    AssistantMessage,
    AudioPart,
    Call,
    ChatCall,
    CompletionCall,
    EmbedCall,
    ImageEmbedCall,
    ImageInput,
    ImagePart,
    MediaReference,
    Message,
    Part,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)

MESSAGE_TOKENS = 4
"""Around each message, in the templates of most models."""
MEDIA_TOKENS = 256
"""An image or a sound clip; models differ by a factor of ten."""


def estimate_tokens(call: Call, default_max_tokens: int) -> int:
    """Tokens of `call`'s prompt, estimated, and of the longest answer that it allows.

    `default_max_tokens` counts where the call names no `max_tokens`.
    """
    match call:
        case ChatCall():
            choices, limit = call.sampling.n, call.sampling.max_tokens
            prompt = sum(_message_tokens(message) for message in call.messages)
        case CompletionCall():
            choices = max(call.sampling.n, call.best_of or 1) * len(call.prompts)
            limit = call.sampling.max_tokens
            prompt = sum(_prompt_tokens(one) for one in call.prompts)
        case EmbedCall():
            return sum(_text_tokens(text) for text in call.texts)
        case ImageEmbedCall():
            return sum(_input_tokens(one) for one in call.inputs)
    return prompt + choices * (default_max_tokens if limit is None else limit)


def _message_tokens(message: Message) -> int:
    match message:
        case SystemMessage(text=text) | ToolMessage(text=text):
            return MESSAGE_TOKENS + _text_tokens(text)
        case AssistantMessage():
            calls = sum(
                _text_tokens(call.name) + _text_tokens(call.arguments)
                for call in message.tool_calls
            )
            return MESSAGE_TOKENS + _text_tokens(message.text) + calls
        case UserMessage():
            return MESSAGE_TOKENS + sum(_part_tokens(part) for part in message.parts)


def _part_tokens(part: Part) -> int:
    match part:
        case TextPart(text=text):
            return _text_tokens(text)
        case ImagePart() | AudioPart() | MediaReference():
            return MEDIA_TOKENS


def _prompt_tokens(prompt: str | tuple[int, ...]) -> int:
    return _text_tokens(prompt) if isinstance(prompt, str) else len(prompt)


def _input_tokens(one: ImageInput) -> int:
    return MEDIA_TOKENS + _text_tokens(one.text or "")


def _text_tokens(text: str) -> int:
    """About 4 letters of English to a token, and about one character of Chinese."""
    further_bytes = len(text.encode(errors="surrogatepass")) - len(text)
    return (2 * len(text) + 3 * further_bytes + 7) // 8
