"""A model in the hands of openvino-genai: loaded, with what has to be known about its tokens."""

import logging
import re
import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import openvino_genai as genai
from msgspec import Struct

from zaffre.engines.openvino.wire import Conversation, Load, Ready

MARK = "\ufdd0"
"""Stands inside the texts of a conversation where they must be cut before they are tokenised. It is
a noncharacter: Unicode keeps it for such uses and no text may have it."""
PICTURE_TAG = "<ov_genai_image_{}>"
"""What stands for a picture in a prompt, whatever the model's own word for it is."""
_PICTURE_TAGS = r"<(?:ov_genai_[a-z]+_\d+|image|video|\|(?:image|video)_\d+\|)>"
"""What the library reads as a place for a picture, besides special tokens."""
_TEMPLATE_ERROR = re.compile(r"Minja's error: (.*?)(?: at row \d+, column \d+:|$)", re.MULTILINE)
_PROBE_TOKENS_OVER = 64
_PROBE_TEXT = "zaffre"
_COUNTED_CHARACTERS = 16_384
_BYTE_NAMES = {f"<0x{byte:02X}>".encode(): bytes([byte]) for byte in range(256)}
_PIECE_BLANK = "\u2581".encode()
_CONVERTED_MARK = "complete"
log = logging.getLogger("zaffre.openvino")


class TemplateRefusedError(Exception):
    """The chat template does not take these messages; the argument says why."""


class Vocabulary(Struct, frozen=True):
    """What each token id stands for."""

    pieces: list[bytes]
    special: frozenset[int]
    """Tokens that steer and are not part of a text."""
    special_texts: tuple[str, ...]
    """What those tokens look like when somebody writes them out, the longest first."""
    stop: frozenset[int]
    """Tokens that end an answer."""
    end: frozenset[int]
    """The one that ends an answer under a grammar. The library takes the others for what their
    names look like, in the middle of a text, too."""
    first: int
    """What stands for an empty prompt."""
    sentencepiece: bool
    """Whether tokens carry the blank before a word, and the library names them in that way."""


class LoadedModel:
    """A pipeline with its tokenizer."""

    def __init__(self, order: Load) -> None:
        self.pipeline, self._tokenizer = _open(order)
        if order.chat_template is not None:
            self._tokenizer.set_chat_template(order.chat_template)
        self.chat_template: str = self._tokenizer.chat_template
        self.vocabulary = _vocabulary(self._tokenizer, self.pipeline.get_config(), order)
        self.sees = order.sees
        special = [*map(re.escape, self.vocabulary.special_texts), *[_PICTURE_TAGS] * order.sees]
        self._special = re.compile("|".join(special) or "$^")
        self.start = self.decode(tuple(self._tokens("", start=True))) if order.sees else ""
        """What the tokenizer puts before a text; known of models that see."""
        self._takes_parts = True
        self._takes_parts = order.sees and self._renders_parts()
        longest = self._longest(order.context_length + _PROBE_TOKENS_OVER)
        self.context_length = min(order.context_length, longest)

    def ready(self) -> Ready:
        """What the worker has to know about the model."""
        return Ready(
            self.context_length,
            len(self.vocabulary.pieces),
            self.chat_template,
            self.vocabulary.sentencepiece,
            self.sees,
        )

    def render(self, conversation: Conversation) -> str:
        """The conversation as the chat template writes it.

        Special tokens that a message spells out are broken up by `MARK`, so that no message can
        end its own turn. Raises `TemplateRefusedError`.
        """
        messages = [self._defused(message) for message in conversation.messages]
        if self.sees and not self._takes_parts:
            messages = _with_tags(messages)
        try:
            return self._apply_template(messages, conversation)
        except RuntimeError as error:
            raise TemplateRefusedError(_reason(error)) from error

    def render_seen(self, conversation: Conversation) -> str:
        """The conversation as a model that sees is given it, which the library tokenises.

        It adds what every prompt starts with, also where the template has done so.
        """
        return self.render(conversation).replace(MARK, " ").removeprefix(self.start)

    def _apply_template(self, messages: list[dict[str, Any]], conversation: Conversation) -> str:
        rendered: str = self._tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tools=conversation.tools or None,
            extra_context=conversation.variables or None,
        )
        return rendered

    def _renders_parts(self) -> bool:
        """Whether the template writes the parts of a message, pictures among them, by itself."""
        told = {"type": "text", "text": _PROBE_TEXT}
        try:
            with_picture, without = (
                self.render(Conversation([{"role": "user", "content": parts}]))
                for parts in ([{"type": "image"}, told], [told])
            )
        except TemplateRefusedError:
            return False
        return _PROBE_TEXT in without != with_picture and "'type'" not in with_picture

    def encode(self, text: str, *, start: bool) -> list[int]:
        """The tokens of `text`, with what a prompt starts with if `start`.

        As many as there are, or at least `context_length` when there are more.
        """
        return self._tokens(text, start=start) if text else []

    def _tokens(self, text: str, *, start: bool) -> list[int]:
        tokens = self._tokenizer.encode(text, add_special_tokens=start).input_ids.data[0]
        ids: list[int] = tokens.tolist()
        return ids

    def encode_rendered(self, text: str) -> list[int]:
        """The tokens of a rendered conversation; see `encode`."""
        return [token for part in text.split(MARK) for token in self.encode(part, start=False)]

    def count(self, text: str) -> int:
        """The number of tokens of a text that may be longer than the tokenizer takes."""
        step = _COUNTED_CHARACTERS
        parts = [text[at : at + step] for at in range(0, len(text), step)]
        return sum(len(self.encode(part, start=False)) for part in parts)

    def decode(self, ids: tuple[int, ...]) -> str:
        """The text of tokens, special ones included."""
        text = b"".join(self.vocabulary.pieces[token] for token in ids).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.vocabulary.sentencepiece else text

    def _longest(self, tokens: int) -> int:
        """How many tokens the tokenizer gives at most, as far as `tokens`: it cuts in silence."""
        some = len(self.encode(" a" * tokens, start=False))
        cut = some == len(self.encode(" a" * 2 * tokens, start=False))
        return some if cut else tokens

    def _defused(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        match value:
            case str():
                return self._special.sub(_broken_up, value.replace(MARK, ""))
            case dict():
                return {key: self._defused(item) for key, item in value.items()}
            case list():
                return [self._defused(item) for item in value]
            case _:
                return value


def _with_tags(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages for a template that knows texts only, with tags for pictures, counted up."""
    number = count()

    def tagged(content: Any) -> Any:  # noqa: ANN401 - any JSON
        if not isinstance(content, list):
            return content
        return "\n".join(
            part["text"] if part["type"] == "text" else PICTURE_TAG.format(next(number))
            for part in content
        )

    return [message | {"content": tagged(message["content"])} for message in messages]


def _broken_up(special: re.Match[str]) -> str:
    return special[0][:1] + MARK + special[0][1:]


def _reason(error: RuntimeError) -> str:
    """What a template says when it raises, out of the library's many lines."""
    said = _TEMPLATE_ERROR.search(str(error))
    reason = said[1] if said else "the engine cannot run it"
    return f"The model's chat template does not take these messages: {reason}."


# --- opening -----------------------------------------------------------------------------------


def _open(order: Load) -> tuple[genai.ContinuousBatchingPipeline, genai.Tokenizer]:
    path = Path(order.path)
    if path.is_dir():
        return _open_folder(path, order)
    if order.converted is None:
        tokenizer = genai.Tokenizer(path)
        return _pipeline(path, tokenizer, order), tokenizer
    converted = Path(order.converted)
    if not (converted / _CONVERTED_MARK).is_file():
        return _open_and_convert(path, converted, order)
    return _open_folder(converted, order)


def _open_folder(
    folder: Path, order: Load
) -> tuple[genai.ContinuousBatchingPipeline, genai.Tokenizer]:
    tokenizer = genai.Tokenizer(folder)
    return _pipeline(folder, tokenizer, order), tokenizer


def _open_and_convert(
    file: Path, converted: Path, order: Load
) -> tuple[genai.ContinuousBatchingPipeline, genai.Tokenizer]:
    """Open a GGUF file and keep what the library made of it, which opens in half the time.

    The library writes beside the file it is given; so it is given a link in a new folder, which
    gets its name when everything is in it.
    """
    try:
        converted.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=converted.parent))
    except OSError as error:
        log.warning("not kept for faster starts: %s", error)
        tokenizer = genai.Tokenizer(file)
        return _pipeline(file, tokenizer, order), tokenizer
    try:
        link = folder / "model.gguf"
        link.symlink_to(file.resolve())
        tokenizer = genai.Tokenizer(link, enable_save_ov_model=True)
        pipeline = _pipeline(link, tokenizer, order, enable_save_ov_model=True)
        link.unlink()
        (folder / _CONVERTED_MARK).touch()
        _publish(folder, converted)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return pipeline, tokenizer


def _publish(folder: Path, converted: Path) -> None:
    """Give the folder its name, unless another process was first, and drop outdated ones."""
    try:
        folder.rename(converted)
    except OSError as error:
        log.warning("not kept for faster starts: %s", error)
        return
    for other in converted.parent.iterdir():
        if other != converted and not other.name.startswith(".new-"):
            shutil.rmtree(other, ignore_errors=True)


def _pipeline(
    path: Path, tokenizer: genai.Tokenizer, order: Load, **properties: bool
) -> genai.ContinuousBatchingPipeline:
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = order.cache_size_gb
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = order.prefix_cache
    scheduler.max_num_batched_tokens = order.batch_tokens
    scheduler.max_num_seqs = order.slots
    threads = {"INFERENCE_NUM_THREADS": order.threads} if order.device == "CPU" else {}
    return genai.ContinuousBatchingPipeline(
        path, tokenizer, scheduler, order.device, **threads, **properties
    )


# --- tokens ------------------------------------------------------------------------------------


def _vocabulary(
    tokenizer: genai.Tokenizer, config: genai.GenerationConfig, order: Load
) -> Vocabulary:
    ids: dict[bytes, int] = tokenizer.get_vocab()
    size = max(ids.values()) + 1
    pieces = [b""] * size
    for piece, token in ids.items():
        pieces[token] = piece
    sentencepiece = all(name in ids for name in _BYTE_NAMES)
    if sentencepiece:
        pieces = [_BYTE_NAMES.get(piece, piece.replace(_PIECE_BLANK, b" ")) for piece in pieces]
    shown: list[str] = tokenizer.decode([[token] for token in range(size)])
    # A special token has a name and no text. Half a character has no text either, and no name.
    special = frozenset(
        t for t in range(size) if pieces[t] and not shown[t] and _is_text(pieces[t])
    )
    end = tokenizer.get_eos_token_id()
    named = {end, config.eos_token_id, *config.stop_token_ids}
    stop = frozenset(t for t in named | set(order.stop_token_ids) if 0 <= t < size)
    firsts = (tokenizer.get_bos_token_id(), tokenizer.get_eos_token_id())
    return Vocabulary(
        pieces=pieces,
        special=special | stop,
        special_texts=tuple(sorted((pieces[t].decode() for t in special), key=len, reverse=True)),
        stop=stop,
        end=frozenset({end}) & stop or stop,
        first=next((token for token in firsts if 0 <= token < size), 0),
        sentencepiece=sentencepiece,
    )


def _is_text(piece: bytes) -> bool:
    try:
        return bool(piece.decode().strip())
    except UnicodeDecodeError:
        return False
