"""The `onnx` engine: text embeddings, and images and texts in one space, on onnxruntime.

Takes what sentence-transformers, Optimum and transformers.js export: `model.onnx` with
`tokenizer.json` for texts; `vision_model.onnx` with `preprocessor_config.json`, and mostly
`text_model.onnx` with `tokenizer.json`, for images. What the files leave open stands on the card.

An image with a text is the normalised sum of the image's vector and the text's: the point between
the two. Usage counts the tokens that the network saw, special ones too and padding not; an image
counts as many tokens as it has patches (cells of the last feature map, for a convolutional
network), or one where config.json does not give the sizes.

Three kinds of threads: the event loop only hands things on; a small pool reads images and splits
texts into tokens; the owner thread of `onnx_batcher` runs the networks.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import msgspec

from zaffre.core.calls import EmbedCall, EmbeddingCall, ImageEmbedCall, ImageInput, InputType
from zaffre.core.capabilities import Capabilities, check
from zaffre.core.deltas import Embeddings, Usage
from zaffre.core.engine import EngineSpec, Health
from zaffre.core.errors import EngineFailed, Location, ModelUnavailable, Overloaded
from zaffre.engines.onnx.batcher import Array, Batcher, Tower, Vectors
from zaffre.engines.onnx.model import OnnxModel, OnnxOptions, normalise

PREPARING_THREADS = 2
TEXTS_AT_ONCE = 64
IMAGES_AT_ONCE = 16
IMAGE_CALLS_AT_ONCE = 4
"""Calls that hold images as pixels, `IMAGES_AT_ONCE` each; the others hold them as files."""

Result = TypeVar("Result")


class OnnxEngine:
    """Runs an embedding model. See `EmbeddingEngine` and `ImageEmbeddingEngine`."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._running: tuple[OnnxModel, Batcher] | None = None
        self._closed = False
        self._max_waiting_inputs = 0
        self._calls = 0
        self._inputs = 0
        self._preparing = ThreadPoolExecutor(PREPARING_THREADS, "onnx-prepare")
        self._image_room = asyncio.Semaphore(IMAGE_CALLS_AT_ONCE)

    async def start(self) -> Capabilities:
        """Load the networks and run each once. Raises `EngineFailed` with the cause."""
        try:
            options = msgspec.convert(self._spec.options, OnnxOptions)
        except msgspec.ValidationError as trouble:
            known = ", ".join(OnnxOptions.__struct_fields__)
            raise EngineFailed(f"Engine options: {trouble}; there are: {known}.") from trouble
        model = await self._prepare(partial(OnnxModel, self._spec, options))
        self._running = model, Batcher(self._spec.card.name, options.max_batch_tokens)
        self._max_waiting_inputs = options.max_waiting_inputs
        return model.capabilities

    def health(self) -> Health:
        """How many calls have something in the running batch, and how many have not."""
        active = self._running[1].active if self._running else 0
        return Health(active=active, waiting=max(0, self._calls - active))

    async def aclose(self) -> None:
        """Let the running batch end, refuse the rest and free the networks."""
        running, self._running = self._running, None
        self._closed = True
        self._preparing.shutdown(wait=False)
        if running is not None:
            await running[1].aclose()

    async def embed(self, call: EmbedCall) -> Embeddings:
        """Embed texts.

        Raises `PromptTooLong` or `InvalidParameter` at the text, `UnsupportedParameter`,
        `Overloaded` when too much is waiting, `EngineFailed`.
        """
        with self._admitted(call, len(call.texts)) as (model, batcher):
            places: list[Location] = [("input", place) for place in range(len(call.texts))]
            tokens = await self._tokens(model, call.texts, call.input_type, places)
            tower = model.text_side.tower
            vectors = await batcher.run([(tower, ids) for ids in tokens])
            return Embeddings(model.finish(vectors, call.dimensions), Usage(_count(tokens)))

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        """Embed images, with texts or not; see `embed` for what it raises."""
        with self._admitted(call, len(call.inputs)) as (model, batcher):
            vectors: list[Vectors] = []
            count = 0
            for first in range(0, len(call.inputs), IMAGES_AT_ONCE):
                part = call.inputs[first : first + IMAGES_AT_ONCE]
                async with self._image_room:
                    pixels = await self._prepare(partial(model.read_images, part, first))
                    tokens = await self._captions(model, part, first, call.input_type)
                    vectors += await _embed_part(model, batcher, pixels, tokens)
                count += _count(tokens.values()) + len(part) * model.vision_side.tower.patches
            return Embeddings(model.finish(vectors, call.dimensions), Usage(count))

    @contextmanager
    def _admitted(self, call: EmbeddingCall, inputs: int) -> Iterator[tuple[OnnxModel, Batcher]]:
        """Take `inputs` into account while they are worked on, or refuse them."""
        if self._running is None:
            raise ModelUnavailable(f"{self._spec.card.name} is not running.")
        check(call, self._running[0].capabilities)
        if self._inputs and self._inputs + inputs > self._max_waiting_inputs:
            raise Overloaded(
                f"{self._spec.card.name} has {self._inputs} inputs to embed before these {inputs}."
            )
        self._calls += 1
        self._inputs += inputs
        try:
            yield self._running
        finally:
            self._calls -= 1
            self._inputs -= inputs

    async def _captions(
        self, model: OnnxModel, part: Sequence[ImageInput], first: int, input_type: InputType
    ) -> dict[int, Array]:
        """Tokens of the texts in `part`, by their place in it."""
        texts = {place: item.text for place, item in enumerate(part) if item.text is not None}
        places: list[Location] = [("input", first + place, "text") for place in texts]
        tokens = await self._tokens(model, list(texts.values()), input_type, places)
        return dict(zip(texts, tokens, strict=True))

    async def _tokens(
        self,
        model: OnnxModel,
        texts: Sequence[str],
        input_type: InputType,
        places: Sequence[Location],
    ) -> list[Array]:
        # In portions, so that a long list keeps nobody else's short one waiting.
        tokens: list[Array] = []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            portion = slice(first, first + TEXTS_AT_ONCE)
            tokens += await self._prepare(
                partial(model.tokenize, texts[portion], input_type, places[portion])
            )
        return tokens

    async def _prepare(self, work: Callable[[], Result]) -> Result:
        if self._closed:
            raise ModelUnavailable(f"{self._spec.card.name} is stopping.")
        return await asyncio.get_running_loop().run_in_executor(self._preparing, work)


async def _embed_part(
    model: OnnxModel, batcher: Batcher, pixels: Sequence[Array], captions: dict[int, Array]
) -> list[Vectors]:
    contents: list[tuple[Tower, Array]] = [(model.vision_side.tower, image) for image in pixels]
    contents += [(model.text_side.tower, tokens) for tokens in captions.values()]
    vectors = await batcher.run(contents)
    images, texts = vectors[: len(pixels)], vectors[len(pixels) :]
    for place, text in zip(captions, texts, strict=True):
        images[place] = normalise(normalise(images[place]) + normalise(text))
    return images


def _count(tokens: Iterable[Array]) -> int:
    return sum(ids.shape[1] for ids in tokens)
