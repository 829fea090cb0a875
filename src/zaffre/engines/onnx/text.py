"""Text towers: from texts to tokens to vectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from zaffre.core.cards import ModelCard
from zaffre.core.errors import EngineFailed, InvalidParameter, Location, PromptTooLong
from zaffre.engines.onnx.batcher import Array, Vectors
from zaffre.engines.onnx.files import (
    ModelConfig,
    SentenceConfig,
    TokenizerConfig,
    read_json,
)
from zaffre.engines.onnx.session import run_options

MAX_TEXT_CHARS = 1_000_000
"""A longer text is refused unread: tokenizing it takes more than a second."""
SANE_CONTEXT_TOKENS = 1_000_000

KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
OUTPUTS = ("text_embeds", "sentence_embedding", "last_hidden_state", "token_embeddings")
"""In order of preference; the first two are one vector per text, the others one per token."""
DEFAULT_CONTEXTS = {"clip": 77, "siglip": 64}
"""What `text_config` means when it leaves the length out."""
FIXED_LENGTH_ARCHITECTURES = frozenset({"siglip"})
"""Trained on texts padded to the full length, without a mask; shorter input changes the vector."""


class TextTokenizer:
    """Turns texts into token ids, and refuses or cuts what is too long."""

    def __init__(
        self, folder: Path, card: ModelCard, too_long: Literal["error", "truncate"]
    ) -> None:
        """Raises `EngineFailed` when the model's files are missing or contradict each other."""
        self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
        config = read_json(folder, "config.json", ModelConfig)
        settings = read_json(folder, "tokenizer_config.json", TokenizerConfig)
        self.context_length = _context_length(folder, card, config, settings)
        self.pad_id = _pad_id(self._tokenizer, config, settings)
        # Exports bake in the padding and the cut of the program that saved them.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if too_long == "truncate":
            self._tokenizer.enable_truncation(self.context_length)

    def encode(self, texts: Sequence[str], places: Sequence[Location]) -> list[Array]:
        """Ids and types of each text's tokens, shape [2, tokens].

        `places` say where in the request each text stands. Raises `PromptTooLong` and
        `InvalidParameter`. Blocks: about one second per million characters.
        """
        for text, place in zip(texts, places, strict=True):
            if len(text) > MAX_TEXT_CHARS:
                raise InvalidParameter(
                    place,
                    len(text),
                    f"The text has {len(text)} characters; at most {MAX_TEXT_CHARS} are read.",
                )
        encodings = self._tokenizer.encode_batch(list(texts))
        tokens = []
        for encoding, place in zip(encodings, places, strict=True):
            count = len(encoding.ids)
            if count > self.context_length:
                raise PromptTooLong(count, self.context_length, place)
            if count == 0:
                raise InvalidParameter(place, "", "The text has no tokens for this model.")
            tokens.append(np.array([encoding.ids, encoding.type_ids], np.int64))
        return tokens


class TextTower:
    """A network from token ids to vectors. See `Tower`."""

    def __init__(
        self, session: onnxruntime.InferenceSession, card: ModelCard, tokenizer: TextTokenizer
    ) -> None:
        """Raises `EngineFailed` when the network's inputs or outputs are not a text tower's."""
        inputs = {item.name: item for item in session.get_inputs()}
        if unknown := sorted(set(inputs) - KNOWN_INPUTS):
            raise EngineFailed(f"The text network needs inputs nobody knows: {', '.join(unknown)}.")
        if "input_ids" not in inputs:
            raise EngineFailed("The text network takes no input_ids.")
        self._session = session
        self._card = card
        self._pad_id = tokenizer.pad_id
        self._types = {
            name: np.int32 if item.type == "tensor(int32)" else np.int64
            for name, item in inputs.items()
        }
        self._output = _choose_output(session, card)
        batch, length = inputs["input_ids"].shape
        self.max_batch: int | None = batch if isinstance(batch, int) else None
        self._fixed_length: int | None = length if isinstance(length, int) else None
        if card.architecture in FIXED_LENGTH_ARCHITECTURES:
            self._fixed_length = self._fixed_length or tokenizer.context_length
        self._run_options = run_options()

    def size(self, content: Array) -> int:
        """Tokens of a text, with padding where the network wants a fixed length."""
        return self._fixed_length or int(content.shape[1])

    def run(self, contents: Sequence[Array]) -> Vectors:
        """Vectors of texts, given as ids and types of their tokens."""
        length = self._fixed_length or max(content.shape[1] for content in contents)
        # A network with a fixed batch gets empty rows to fill it.
        rows = self.max_batch or len(contents)
        ids = np.full((rows, length), self._pad_id, np.int64)
        types = np.zeros((rows, length), np.int64)
        mask = np.zeros((rows, length), np.int64)
        for row, content in enumerate(contents):
            count = content.shape[1]
            ids[row, :count], types[row, :count] = content
            mask[row, :count] = 1
        positions = np.broadcast_to(np.arange(length), ids.shape)
        given = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": types,
            "position_ids": positions,
        }
        feed = {name: given[name].astype(kind) for name, kind in self._types.items()}
        output = self._session.run([self._output], feed, self._run_options)[0]
        used = slice(len(contents))
        vectors: Vectors = output[used].astype(np.float32)
        if vectors.ndim == 3:
            return _pool(vectors, mask[used], self._card.pooling)
        return vectors


def _pool(states: Vectors, mask: Array, pooling: Literal["mean", "cls", "last"]) -> Vectors:
    pooled: Vectors
    match pooling:
        case "mean":
            weights = mask[:, :, None].astype(np.float32)
            pooled = (states * weights).sum(axis=1) / weights.sum(axis=1)
        case "cls":
            pooled = states[:, 0]
        case "last":
            pooled = states[np.arange(len(states)), mask.sum(axis=1) - 1]
    return pooled


def _choose_output(session: onnxruntime.InferenceSession, card: ModelCard) -> str:
    names: list[str] = [output.name for output in session.get_outputs()]
    # SigLIP's pooler output is its vector; CLIP's is from before the projection into the space.
    siglip = card.architecture in FIXED_LENGTH_ARCHITECTURES
    wanted = ("text_embeds", "pooler_output") if siglip else OUTPUTS
    found = [name for name in wanted if name in names] or (names if len(names) == 1 else [])
    if not found:
        raise EngineFailed(
            f"The text network gives {', '.join(names)}; wanted is one of {', '.join(wanted)}."
        )
    return found[0]


def _load_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise EngineFailed(f"The model has no {path.name}.")
    try:
        return Tokenizer.from_file(str(path))
    # The fence: the tokenizers library raises bare Exception.
    except Exception as trouble:
        raise EngineFailed(f"{path.name} cannot be used: {trouble}") from trouble


def _context_length(
    folder: Path, card: ModelCard, config: ModelConfig, settings: TokenizerConfig
) -> int:
    """The card's word, else the most specific file's."""
    sentence = read_json(folder, "sentence_bert_config.json", SentenceConfig)
    candidates = (
        card.context_length,
        sentence.max_seq_length,
        settings.model_max_length,
        config.text_config.max_position_embeddings,
        DEFAULT_CONTEXTS.get(card.architecture),
        config.max_position_embeddings,
    )
    for tokens in candidates:
        if tokens is not None and 0 < tokens < SANE_CONTEXT_TOKENS:
            return int(tokens)
    raise EngineFailed(
        "No file says how many tokens a text may have; put context_length on the card."
    )


def _pad_id(tokenizer: Tokenizer, config: ModelConfig, settings: TokenizerConfig) -> int:
    """Matters to networks that derive positions from it (RoBERTa) or are trained on it (SigLIP)."""
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    token = settings.pad_token
    text = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(text) if isinstance(text, str) else None
    for number in (found, config.pad_token_id, config.text_config.pad_token_id):
        if number is not None:
            return int(number)
    return 0
