"""An embedding model in memory: its towers, what it can do, and what its vectors go through."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct
from PIL import Image

from zaffre.core.calls import ImageInput, InputType, Operation
from zaffre.core.capabilities import Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.engine import EngineSpec
from zaffre.core.errors import EngineFailed, Location
from zaffre.engines.onnx.batcher import Array, Vectors
from zaffre.engines.onnx.files import find_network, has_network
from zaffre.engines.onnx.session import open_session
from zaffre.engines.onnx.text import TextTokenizer, TextTower
from zaffre.engines.onnx.vision import ImageReader, VisionTower

TWO_TOWERS = ("vision_model", "text_model")
TINY = 1e-12


class OnnxOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the `onnx` engine."""

    variant: str = ""
    """Which export to run where there are several: `quantized` means `model_quantized.onnx`."""
    too_long: Literal["error", "truncate"] | None = None
    """What happens to a text longer than the context; the card's word when absent."""
    max_batch_tokens: Annotated[int, Meta(ge=1, le=1 << 20)] = 512
    """Bound on a batch, padding included. On processors larger ones were no faster when measured,
    and everybody else waits for them."""
    max_waiting_inputs: Annotated[int, Meta(ge=1, le=1 << 20)] = 8192
    """Texts and images accepted but not answered; a request beyond is refused at once."""


class TextSide(Struct, frozen=True):
    """What turns texts into vectors."""

    tokenizer: TextTokenizer
    tower: TextTower


class VisionSide(Struct, frozen=True):
    """What turns images into vectors."""

    reader: ImageReader
    tower: VisionTower


class OnnxModel:
    """Loads a model's towers and runs each once. Blocks while it does."""

    def __init__(self, spec: EngineSpec, options: OnnxOptions) -> None:
        """Raises `EngineFailed` with the cause."""
        self._spec, self._options = spec, options
        self.card: ModelCard = spec.card
        self._folder = Path(spec.path)
        if not self._folder.is_dir():
            raise EngineFailed(
                f"{self._folder.name} is no folder; an ONNX model is a folder of files."
            )
        two_towers = has_network(self._folder, TWO_TOWERS[0])
        text_stem = TWO_TOWERS[1] if two_towers else "model"
        self.vision = self._load_vision() if two_towers else None
        has_text = not two_towers or has_network(self._folder, text_stem)
        self.text = self._load_text(text_stem) if has_text else None
        self.capabilities = self._measure()

    def tokenize(
        self, texts: Sequence[str], input_type: InputType, places: Sequence[Location]
    ) -> list[Array]:
        """Tokens of `texts` with the prefix for `input_type`; see `TextTokenizer.encode`."""
        if not texts:
            return []
        prefix = self.card.prefixes.get(input_type, "")
        return self.text_side.tokenizer.encode([prefix + text for text in texts], places)

    def read_images(self, inputs: Sequence[ImageInput], first: int) -> list[Array]:
        """Pixels of `inputs`, which stand in the request from place `first` on."""
        reader = self.vision_side.reader
        return [
            reader.read(item.image, ("input", place, "image"))
            for place, item in enumerate(inputs, first)
        ]

    def finish(self, vectors: Sequence[Vectors], dimensions: int | None) -> tuple[bytes, ...]:
        """The bytes of `vectors`, cut to `dimensions` and normalised as the card says.

        Raises `EngineFailed` when a vector has a number that is none.
        """
        if not vectors:
            return ()
        rows = np.stack(vectors)
        if not np.isfinite(rows).all():
            raise EngineFailed(f"{self.card.name} computed a vector that is not finite.")
        if self.card.normalize:
            rows = normalise(rows)
        if dimensions is not None and dimensions < rows.shape[1]:
            # Matryoshka models are trained to be cut and normalised again.
            rows = normalise(rows[:, :dimensions])
        return tuple(row.tobytes() for row in rows.astype("<f4"))

    @property
    def text_side(self) -> TextSide:
        """The text side. Raises `EngineFailed` where there is none; capabilities say so."""
        if self.text is None:
            raise EngineFailed(f"{self.card.name} has no text network.")
        return self.text

    @property
    def vision_side(self) -> VisionSide:
        """The vision side. Raises `EngineFailed` where there is none; capabilities say so."""
        if self.vision is None:
            raise EngineFailed(f"{self.card.name} has no vision network.")
        return self.vision

    def _load_text(self, stem: str) -> TextSide:
        too_long = self._options.too_long or self.card.too_long
        tokenizer = TextTokenizer(self._folder, self.card, too_long)
        path = find_network(self._folder, stem, self._options.variant)
        session = open_session(path, self._spec.threads)
        return TextSide(tokenizer, TextTower(session, self.card, tokenizer))

    def _load_vision(self) -> VisionSide:
        reader = ImageReader(self._folder, self.card)
        path = find_network(self._folder, TWO_TOWERS[0], self._options.variant)
        session = open_session(path, self._spec.threads)
        return VisionSide(reader, VisionTower(session, self._folder, self.card))

    def _measure(self) -> Capabilities:
        """Run each tower once: what it gives is what the model can do."""
        widths = set()
        try:
            if self.text is not None:
                tokens = self.tokenize(["zaffre"], "text", [("input", 0)])
                widths.add(self.text.tower.run(tokens).shape[1])
            if self.vision is not None:
                blank = self.read_images([ImageInput(_blank_image())], 0)
                widths.add(self.vision.tower.run(blank).shape[1])
        except EngineFailed:
            raise
        # The fence: a network that does not fit its files fails in the library's own ways.
        except Exception as trouble:
            raise EngineFailed(f"{self.card.name} failed on a first try: {trouble}") from trouble
        if len(widths) != 1 or self.card.dimensions not in (None, *widths):
            found = " and ".join(map(str, sorted(widths)))
            raise EngineFailed(
                f"{self.card.name} gives {found} dimensions; its card says {self.card.dimensions}."
            )
        return self._capabilities(widths.pop())

    def _capabilities(self, dimensions: int) -> Capabilities:
        able: set[Operation] = set()
        if self.text is not None:
            able.add("embed")
        if self.vision is not None:
            able.add("embed_images")
        operations = able & set(self.card.operations)
        if not operations:
            wanted, there = ", ".join(self.card.operations), ", ".join(sorted(able))
            raise EngineFailed(f"{self.card.name}'s card says {wanted}; its files can {there}.")
        return Capabilities(
            model=self.card.name,
            engine="onnx",
            provider=self.card.provider,
            operations=frozenset(operations),
            context_length=self.text.tokenizer.context_length if self.text else None,
            dimensions=dimensions,
            reducible_dimensions=self.card.reducible_dimensions,
            image_captions=self.vision is not None and self.text is not None,
        )


def normalise(rows: Vectors) -> Vectors:
    """`rows`, or the one row, with length one; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: Vectors = rows / np.maximum(lengths, TINY)
    return scaled


def _blank_image() -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    return file.getvalue()
