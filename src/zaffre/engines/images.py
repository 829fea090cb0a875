"""Image files from clients, opened within bounds; the same ones whatever engine looks at them."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import ExifTags, Image, ImageOps

from zaffre.core.errors import InvalidParameter, Location

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_IMAGE_BYTES = 32 * 1024 * 1024
MAX_PIXELS = 64_000_000
"""Of an image as it is and as it is scaled: decoded, 4 bytes each."""
_PLAIN_FORMATS = ("PNG", "JPEG", "BMP")
_PLAIN_MODES = ("RGB", "L")
_GREY_TO_BYTES = [value >> 8 for value in range(2**16)]


def decode_image(content: bytes, place: Location) -> Image.Image:
    """The first picture of an image file: RGB, upright, and on white where it is transparent.

    Raises `InvalidParameter` at `place` when it is no image in one of `FORMATS`, is broken, or is
    too large. Blocks for up to a second or so with the largest images.
    """
    with _opened(content, place) as image:
        return _to_rgb(ImageOps.exif_transpose(image))


def plain_file(content: bytes, place: Location) -> bytes:
    """The image as a file that every decoder reads alike: itself if it is one, else a PNG of it.

    An upright PNG, JPEG or BMP in plain colours or grey stays as it is. Raises what `decode_image`
    does, except that not all of a file that stays is looked at.
    """
    with _opened(content, place) as image:
        plain = image.format in _PLAIN_FORMATS and image.mode in _PLAIN_MODES
        if plain and "transparency" not in image.info and _is_upright(image):
            return content
    written = BytesIO()
    decode_image(content, place).save(written, "PNG", compress_level=1)
    return written.getvalue()


@contextmanager
def _opened(content: bytes, place: Location) -> Iterator[Image.Image]:
    """The image behind its header. What its decoder raises inside leaves as a refusal."""
    if len(content) > MAX_IMAGE_BYTES:
        raise refuse_image(place, f"The image has more than {MAX_IMAGE_BYTES} bytes.")
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise refuse_image(place, f"The image has more than {MAX_PIXELS} pixels.")
            yield image
    except InvalidParameter:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
        raise refuse_image(place, f"The image has more than {MAX_PIXELS} pixels.") from bomb
    # The fence: a decoder fails on garbage with whatever its parser stumbles over.
    except Exception as trouble:
        kinds = ", ".join(FORMATS)
        raise refuse_image(place, f"This is no whole image in one of {kinds}.") from trouble


def refuse_image(place: Location, message: str) -> InvalidParameter:
    """The refusal of the image at `place`."""
    return InvalidParameter(place, "image", message)


def _is_upright(image: Image.Image) -> bool:
    orientation: object = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation == 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits of grey; Pillow would cut what exceeds 8 bits instead of scaling it.
        image = image.convert("I").point(_GREY_TO_BYTES, "L")
    if "A" in image.getbands() or "transparency" in image.info:
        # On white, as the reference implementation does it: what is behind it is not in the file.
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
