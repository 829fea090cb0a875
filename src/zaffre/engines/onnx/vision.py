"""Vision towers: from image files to pixels to vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from zaffre.core.cards import ModelCard
from zaffre.core.errors import EngineFailed, Location
from zaffre.engines.images import MAX_PIXELS, decode_image, refuse_image
from zaffre.engines.onnx.batcher import Array, Vectors
from zaffre.engines.onnx.files import (
    Box,
    ModelConfig,
    PreprocessorConfig,
    Side,
    VisionConfig,
    read_json,
)
from zaffre.engines.onnx.session import run_options

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
DEFAULT_VISION = {
    "clip": VisionConfig(image_size=224, patch_size=32),
    "siglip": VisionConfig(image_size=224, patch_size=16),
}
"""What `vision_config` means when it leaves these out."""
OUTPUTS = ("image_embeds", "pooler_output")


class ImageReader:
    """Turns image files into the pixels that a network was trained on."""

    def __init__(self, folder: Path, card: ModelCard) -> None:
        """Raises `EngineFailed` when preprocessor_config.json is missing or makes no sense."""
        if not (folder / "preprocessor_config.json").is_file():
            raise EngineFailed("The model has no preprocessor_config.json.")
        config = read_json(folder, "preprocessor_config.json", PreprocessorConfig)
        clip = card.architecture == "clip"
        self._crop = _crop_size(config, clip)
        self._resize = _resize_size(config, self._crop is not None) if config.do_resize else None
        try:
            self._resample = Image.Resampling(config.resample)
        except ValueError as unknown:
            raise EngineFailed(
                f"preprocessor_config.json: no resample {config.resample}."
            ) from unknown
        self._factor = config.rescale_factor if config.do_rescale else 1.0
        mean, std = (CLIP_MEAN, CLIP_STD) if clip else (HALF, HALF)
        self._mean = np.array(config.image_mean or mean, np.float32)
        self._std = np.array(config.image_std or std, np.float32)
        if not config.do_normalize:
            self._mean, self._std = np.zeros(3, np.float32), np.ones(3, np.float32)
        if not self._std.all():
            raise EngineFailed("preprocessor_config.json: image_std may not be zero.")

    def read(self, content: bytes, place: Location) -> Array:
        """The pixels of an image file, float32 [3, height, width].

        Raises `InvalidParameter` at `place` as `decode_image` does, and when it is too narrow.
        Blocks for up to a second or so with the largest images.
        """
        image = self._scale(decode_image(content, place), place)
        if self._crop is not None:
            image = _centre_crop(image, *self._crop)
        pixels = np.asarray(image, np.float32) * np.float32(self._factor)
        normal = (pixels - self._mean) / self._std
        return np.ascontiguousarray(normal.transpose(2, 0, 1))

    def _scale(self, image: Image.Image, place: Location) -> Image.Image:
        match self._resize:
            case None:
                return image
            case (height, width):
                wanted = (width, height)
            case int(edge):
                # As the reference implementations do it: the longer side is cut, not rounded.
                short, long = sorted(image.size)
                longer = int(edge * long / short)
                wanted = (edge, longer) if image.width <= image.height else (longer, edge)
        if wanted[0] * wanted[1] > MAX_PIXELS:
            size = f"{image.width} x {image.height}"
            raise refuse_image(place, f"The image is too narrow: {size} pixels.")
        return image if wanted == image.size else image.resize(wanted, self._resample)


class VisionTower:
    """A network from pixels to vectors. See `Tower`."""

    def __init__(
        self, session: onnxruntime.InferenceSession, folder: Path, card: ModelCard
    ) -> None:
        """Raises `EngineFailed` when the network's inputs or outputs are not a vision tower's."""
        inputs = {item.name: item for item in session.get_inputs()}
        if list(inputs) != ["pixel_values"]:
            raise EngineFailed(
                f"The vision network takes {', '.join(inputs)}; it should take pixel_values only."
            )
        names = [output.name for output in session.get_outputs()]
        # CLIP's pooler output is from before the projection into the joint space.
        known = OUTPUTS[:1] if card.architecture == "clip" else OUTPUTS
        found = [name for name in known if name in names]
        if not found:
            raise EngineFailed(
                f"The vision network gives {', '.join(names)}; wanted is {' or '.join(known)}."
            )
        self._session = session
        self._output = found[0]
        self._half = inputs["pixel_values"].type == "tensor(float16)"
        batch = inputs["pixel_values"].shape[0]
        self.max_batch: int | None = batch if isinstance(batch, int) else None
        self.patches = _patches(read_json(folder, "config.json", ModelConfig), card)
        """Of an image: what it counts as tokens; one where the files do not say."""
        self._run_options = run_options()

    def size(self, content: Array) -> int:
        """Patches of an image."""
        del content  # all images have the same size by now
        return self.patches

    def run(self, contents: Sequence[Array]) -> Vectors:
        """Vectors of images, given as their pixels."""
        pixels = np.stack(contents)
        if self.max_batch is not None:
            empty = self.max_batch - len(contents)
            pixels = np.pad(pixels, ((0, empty), (0, 0), (0, 0), (0, 0)))
        if self._half:
            pixels = pixels.astype(np.float16)
        output = self._session.run([self._output], {"pixel_values": pixels}, self._run_options)[0]
        vectors: Vectors = output[: len(contents)].astype(np.float32)
        return vectors


def _centre_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    # Outside the image this fills with black.
    return image.crop((left, top, left + width, top + height))


def _crop_size(config: PreprocessorConfig, clip: bool) -> tuple[int, int] | None:
    wanted = config.do_center_crop if config.do_center_crop is not None else clip
    if not wanted:
        return None
    match config.crop_size:
        case int(side):
            sides = (side, side)
        case Box(height=int(height), width=int(width)):
            sides = (height, width)
        case _:
            raise EngineFailed("preprocessor_config.json: crop_size needs a height and a width.")
    return _checked(sides)


def _resize_size(config: PreprocessorConfig, cropped: bool) -> tuple[int, int] | int:
    match config.size:
        case Box(shortest_edge=int(edge)):
            return _checked((edge, edge))[0]
        case Box(height=int(height), width=int(width)):
            return _checked((height, width))
        case int(edge):
            # Before sizes had names, a number meant the shorter edge where a crop followed.
            sides = _checked((edge, edge))
            return edge if cropped else sides
        case _:
            raise EngineFailed("preprocessor_config.json: 'size' has no meaning known here.")


def _checked(sides: tuple[int, int]) -> tuple[int, int]:
    if min(sides) < 1 or sides[0] * sides[1] > MAX_PIXELS:
        raise EngineFailed(f"preprocessor_config.json: no image can have the size {sides}.")
    return sides


def _patches(config: ModelConfig, card: ModelCard) -> int:
    vision = config.vision_config
    default = DEFAULT_VISION.get(card.architecture, VisionConfig())
    image, patch = vision.image_size or default.image_size, vision.patch_size or default.patch_size
    if not image or not patch:
        return 1
    (height, width), (down, across) = _pair(image), _pair(patch)
    return max(1, (height // down) * (width // across))


def _pair(side: Side) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else side
