"""What a projector adds to a model on llama.cpp: eyes or ears. The weights are random."""

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from ears import SOUND_TOKENS, tone, write_ears
from llama_models import running, sampling, tiny
from phi3 import CHAT_TEMPLATE, IMAGE_TOKENS, write_phi3, write_projector
from PIL import ExifTags, Image

from zaffre.core.answers import gather
from zaffre.core.calls import AudioPart, ChatCall, ImagePart, Part, TextPart, UserMessage
from zaffre.core.capabilities import Capabilities, check
from zaffre.core.errors import InvalidParameter, InvalidRequest, PromptTooLong, UnsupportedParameter
from zaffre.engines.llama.engine import LlamaEngine
from zaffre.engines.llama.media import MAX_SOUND_BYTES


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phi3(tmp_path_factory.mktemp("phi3") / "phi3.gguf")


# --- eyes --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def seeing(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LlamaEngine]:
    eyes = write_projector(tmp_path_factory.mktemp("eyes") / "mmproj.gguf")
    async with running(tiny(checkpoint, mmproj=str(eyes))) as started:
        yield started


def shown(*images: bytes, **fields: object) -> ChatCall:
    parts = (TextPart("Hello"), *(ImagePart(image, "image/png") for image in images))
    return ChatCall(messages=(UserMessage(parts),), sampling=sampling(), **fields)


def png(colour: str) -> bytes:
    written = BytesIO()
    Image.new("RGB", (40, 30), colour).save(written, "PNG")
    return written.getvalue()


async def test_images_are_seen(seeing: LlamaEngine):
    """Given a model with eyes, when images differ, then its answers do, and they cost tokens."""
    blind, red, again, blue = [
        await gather(seeing.chat(call))
        for call in (shown(), shown(png("red")), shown(png("red")), shown(png("blue")))
    ]
    assert red.choices == again.choices
    assert len({answer.choices[0].text for answer in (blind, red, blue)}) == 3
    assert red.usage.prompt_tokens == blind.usage.prompt_tokens + IMAGE_TOKENS


async def test_an_answer_about_an_image_is_held_to_a_form(seeing: LlamaEngine):
    """Given a model with eyes, when JSON is asked for, then the answer begins as an object does."""
    answer = await gather(seeing.chat(shown(png("red"), format="json_object")))
    assert answer.choices[0].text.lstrip().startswith("{")


async def test_what_is_no_image_is_refused(seeing: LlamaEngine):
    """Given a model with eyes, when it is shown noise, then that is the request's fault."""
    with pytest.raises(InvalidParameter) as refused:
        await gather(seeing.chat(shown(b"noise")))
    assert refused.value.location == ("messages", 0, "content", 1)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP"])
async def test_an_image_is_the_same_in_any_format(seeing: LlamaEngine, kind: str):
    """Given a lossless file of a format that llama.cpp may not know, then it is seen alike."""
    written = BytesIO()
    Image.new("RGB", (40, 30), "red").save(written, kind, **_LOSSLESS.get(kind, {}))
    answer = await gather(seeing.chat(shown(written.getvalue())))
    assert answer.choices == (await gather(seeing.chat(shown(png("red"))))).choices


_LOSSLESS = {"WEBP": {"lossless": True}}


async def test_a_photograph_is_seen_upright(seeing: LlamaEngine):
    """Given a picture that was saved on its side, when it is shown, then it is turned back."""
    upright = Image.new("RGB", (40, 40), "red")
    upright.paste("blue", (0, 0, 40, 20))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8  # to be turned a quarter to the left
    aside = BytesIO()
    upright.rotate(-90).save(aside, "PNG", exif=exif)
    plain = BytesIO()
    upright.save(plain, "PNG")
    seen = [await gather(seeing.chat(shown(f.getvalue()))) for f in (plain, aside)]
    assert seen[0].choices == seen[1].choices


# --- ears --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def hearing(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LlamaEngine]:
    ears = write_ears(tmp_path_factory.mktemp("ears") / "mmproj.gguf")
    async with running(tiny(checkpoint, mmproj=str(ears))) as started:
        yield started


def _played(*parts: Part, **fields: object) -> ChatCall:
    # Not greedy: these weights would say the same half of a character all the time.
    said = sampling(**{"temperature": 1.0, "seed": 7, "ignore_eos": True, **fields})
    return ChatCall((UserMessage((TextPart("Hello"), *parts)),), sampling=said)


def _wav(frequency_hz: float, duration_s: float = 1.0) -> AudioPart:
    return AudioPart(tone(frequency_hz, duration_s), "wav")


async def _heard(engine: LlamaEngine, *parts: Part) -> tuple[str, int]:
    """What the model says to it, and the tokens of the prompt."""
    answer = await gather(engine.chat(_played(*parts)))
    return answer.choices[0].text, answer.usage.prompt_tokens


async def _capabilities(checkpoint: Path, projector: Path) -> Capabilities:
    engine = LlamaEngine(tiny(checkpoint, mmproj=str(projector)))
    try:
        return await engine.start()
    finally:
        await engine.aclose()


async def test_eyes_are_no_ears(checkpoint: Path, tmp_path: Path):
    """Given a projector for one sense, when the model is started, then it has that one only."""
    eyes = await _capabilities(checkpoint, write_projector(tmp_path / "eyes.gguf"))
    ears = await _capabilities(checkpoint, write_ears(tmp_path / "ears.gguf"))
    assert eyes.content_parts == {"text", "image"}
    assert ears.content_parts == {"text", "audio"}
    with pytest.raises(UnsupportedParameter) as refusal:
        check(ChatCall((UserMessage((_wav(440),)),)), eyes)
    assert refusal.value.location == ("messages", 0, "content", 0)


async def test_sounds_are_heard(hearing: LlamaEngine):
    """Given a model with ears, when sounds differ, then its answers do, and they cost tokens."""
    deaf, low, again, high = [
        await _heard(hearing, *parts) for parts in ((), (_wav(440),), (_wav(440),), (_wav(3000),))
    ]
    assert low == again
    assert len({said for said, _ in (deaf, low, high)}) == 3
    assert low[1] == high[1] == deaf[1] + SOUND_TOKENS


async def test_several_and_longer_clips_cost_more(hearing: LlamaEngine):
    """Given two clips, or one of 45 seconds, when they are heard, then each 30 s have tokens."""
    _, none = await _heard(hearing)
    assert (await _heard(hearing, _wav(440), _wav(880)))[1] == none + 2 * SOUND_TOKENS
    assert (await _heard(hearing, _wav(440, 45.0)))[1] == none + 2 * SOUND_TOKENS


async def test_a_clip_longer_than_the_context_is_refused(checkpoint: Path, tmp_path: Path):
    """Given a context with less room than a clip takes, when one is sent, then it is refused."""
    ears = write_ears(tmp_path / "mmproj.gguf")
    async with running(tiny(checkpoint, mmproj=str(ears), n_ctx=64)) as engine:
        with pytest.raises(PromptTooLong, match="64 tokens"):
            await gather(engine.chat(_played(_wav(440))))


@pytest.mark.parametrize("template", [None, "<think></think>" + CHAT_TEMPLATE])
async def test_an_answer_ends_where_the_context_does(
    checkpoint: Path, tmp_path: Path, template: str | None
):
    """Given a clip that nearly fills the context, when it is answered, then with what is left.

    On both of the ways that answers come from llama.cpp: models that think take the other one.
    """
    ears = write_ears(tmp_path / "mmproj.gguf")
    async with running(tiny(checkpoint, template, mmproj=str(ears), n_ctx=120)) as engine:
        answer = await gather(engine.chat(_played(_wav(440), max_tokens=500)))
    assert answer.choices[0].finish_reason == "length"
    # A token that is only part of a character is heard of with the next one.
    assert 120 <= answer.usage.total_tokens <= 123


_NOISES = {
    "no wav": (b"noise" * 10, "wav", InvalidParameter),
    "no mp3": (b"noise" * 10, "mp3", InvalidParameter),
    "a wav as mp3": (tone(440), "mp3", InvalidParameter),
    "another format": (b"fLaC", "flac", InvalidParameter),
    "too large": (b"RIFF" + bytes(MAX_SOUND_BYTES), "wav", InvalidParameter),
    "an image": (png("red"), "wav", InvalidParameter),
    "empty": (b"", "mp3", InvalidParameter),
    "a header alone": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "wav", InvalidRequest),
    "a tag alone": (b"ID3" + bytes(100), "mp3", InvalidRequest),
}


@pytest.mark.parametrize("name", _NOISES)
async def test_what_is_no_sound_is_refused(hearing: LlamaEngine, name: str):
    """Given bytes that are not what they say, when they are played, then that is refused."""
    content, kind, expected = _NOISES[name]
    with pytest.raises(expected) as refusal:
        await gather(hearing.chat(_played(AudioPart(content, kind))))
    assert refusal.value.location[0] == "messages"
    assert (await _heard(hearing))[0]
