"""A model that sees, as OpenVINO IR: a tiny LLaVA, exported from random weights."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from conformance import PERSON, Person, Subject, chat_call, until
from PIL import Image
from test_conformance import WEATHER, WeatherArguments

from zaffre.core.calls import (
    ChatCall,
    CompletionCall,
    ImagePart,
    Part,
    Sampling,
    TextPart,
    UserMessage,
)
from zaffre.core.cards import ModelCard
from zaffre.core.deltas import Finish, TextDelta, Usage
from zaffre.core.engine import EngineSpec, Health
from zaffre.core.errors import (
    EngineFailed,
    InvalidParameter,
    InvalidRequest,
    PromptTooLong,
    UnsupportedParameter,
)
from zaffre.engines.openvino.conversations import MAX_PICTURES
from zaffre.engines.openvino.engine import OpenVinoEngine
from zaffre.registry.detect import choose, detect

FOLDER = Path(__file__).with_name("llava_ir")
CONTEXT_LENGTH = 2048
PICTURE_TOKENS = 4 + 1 + 1
"""The patches, the line feed of the chat template, and one that the library adds by itself."""
QUESTION = TextPart("What?")
NAMELESS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)
"""A template that knows texts only, as those of most models that see."""


def _spec(chat_template: str | None = None, path: Path = FOLDER) -> EngineSpec:
    card = ModelCard(
        name="tiny-llava",
        format="openvino-ir",
        operations=("chat", "complete"),
        chat_template=chat_template,
    )
    return EngineSpec(card=card, path=str(path), threads=1, slots=4)


@pytest.fixture(scope="module")
async def llava() -> AsyncIterator[Subject]:
    engine = OpenVinoEngine(_spec())
    yield Subject("openvino", engine, await engine.start())
    await engine.aclose()


@pytest.fixture(scope="module")
async def nameless() -> AsyncIterator[Subject]:
    """The same with a template that has no place for pictures."""
    engine = OpenVinoEngine(_spec(NAMELESS))
    yield Subject("openvino", engine, await engine.start())
    await engine.aclose()


def _picture(colour: str, size: tuple[int, int] = (60, 40), kind: str = "PNG") -> ImagePart:
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return ImagePart(file.getvalue(), f"image/{kind.lower()}")


def _shown(*parts: Part, **asked: object) -> ChatCall:
    sampling = Sampling(**{"temperature": 0, "max_tokens": 12, "ignore_eos": True, **asked})
    return ChatCall((UserMessage(parts),), sampling=sampling)


async def _said(subject: Subject, *parts: Part) -> str:
    return (await subject.answer(_shown(*parts))).choices[0].text


# --- loading -----------------------------------------------------------------------------------


def test_openvino_is_the_engine_for_a_model_that_sees():
    """Given an exported folder with eyes, when an engine is chosen, then it is openvino."""
    assert choose(detect("llava", FOLDER)) == ("openvino", "an OpenVINO IR folder")


async def test_its_capabilities_say_that_it_sees(llava: Subject):
    """Given the loaded model, then it takes images, and prompts as text only."""
    assert llava.capabilities.content_parts == {"text", "image"}
    assert llava.capabilities.context_length == CONTEXT_LENGTH
    assert not llava.capabilities.token_prompts
    with pytest.raises(UnsupportedParameter):
        await llava.answer(CompletionCall(((1, 2),), sampling=Sampling(max_tokens=1)))


@pytest.mark.parametrize("name", ["preprocessor_config.json", "openvino_tokenizer.xml"])
async def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path, name: str):
    """Given an export without one of its files, when it is loaded, then the file is named."""
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    with pytest.raises(EngineFailed, match=f"{name} is missing"):
        await OpenVinoEngine(_spec(path=tmp_path)).start()


# --- seeing ------------------------------------------------------------------------------------


async def test_an_answer_depends_on_what_is_shown(llava: Subject):
    """Given different pictures, when they are asked about, then the answers differ, and repeat."""
    red, blue = _picture("red"), _picture("blue")
    answers = [await _said(llava, *shown, QUESTION) for shown in ((), (red,), (blue,))]
    assert len(set(answers)) == 3
    assert await _said(llava, red, QUESTION) == answers[1]


async def test_pictures_are_seen_in_order_and_in_place(llava: Subject):
    """Given two pictures, when they change places, then the answer is another one."""
    red, blue = _picture("red"), _picture("blue")
    orders = ((red, blue, QUESTION), (blue, red, QUESTION), (red, QUESTION, blue))
    assert len({await _said(llava, *order) for order in orders}) == 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP"])
async def test_the_same_picture_in_any_format_is_the_same(llava: Subject, kind: str):
    """Given a lossless file of any format, when it is shown, then it is seen alike."""
    options = {"lossless": True} if kind == "WEBP" else {}
    file = BytesIO()
    Image.new("RGB", (60, 40), "red").save(file, kind, **options)
    shown = ImagePart(file.getvalue(), f"image/{kind.lower()}")
    assert await _said(llava, shown, QUESTION) == await _said(llava, _picture("red"), QUESTION)


async def test_a_template_without_a_place_for_pictures_gets_tags(nameless: Subject):
    """Given a template for texts only, when pictures are shown, then they are seen all the same."""
    red, blue = _picture("red"), _picture("blue")
    answers = [await _said(nameless, *s, QUESTION) for s in ((), (red,), (blue,), (red, blue))]
    assert len(set(answers)) == 4


async def test_the_stream_is_the_answer_in_pieces(llava: Subject):
    """Given a picture, when the answer is streamed, then text, one `Finish`, and one `Usage`."""
    call = _shown(_picture("red"), QUESTION)
    *said, finish, usage = await llava.deltas(call)
    assert all(isinstance(delta, TextDelta) for delta in said)
    assert len(said) > 1
    assert (finish, type(usage)) == (Finish("length"), Usage)
    text = "".join(delta.text for delta in said if isinstance(delta, TextDelta))
    assert text == (await llava.answer(call)).choices[0].text


async def test_many_at_once_see_their_own_pictures(llava: Subject):
    """Given more calls than slots at once, when they run, then each answers to its own picture."""
    colours = ["red", "blue", "green", "white", "red", "blue", "green", "white"]
    shown = [(_picture(colour), QUESTION) for colour in colours]
    together = await asyncio.gather(*(_said(llava, *parts) for parts in shown))
    assert together[:4] == together[4:]
    assert len(set(together)) == 4
    assert await llava.idle()


# --- counting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("max_tokens", [0, 1, 5])
async def test_tokens_are_counted_with_those_of_pictures(
    llava: Subject, number: int, max_tokens: int
):
    """Given pictures, when their call is answered, then the usage has their tokens, too."""
    text = await llava.answer(_shown(QUESTION, max_tokens=0))
    parts = [_picture("red")] * number
    answer = await llava.answer(_shown(*parts, QUESTION, max_tokens=max_tokens))
    assert answer.usage.prompt_tokens == text.usage.prompt_tokens + number * PICTURE_TOKENS
    assert answer.usage.completion_tokens == max_tokens
    assert answer.choices[0].finish_reason == "length"


async def test_the_start_of_a_prompt_is_there_once(llava: Subject):
    """Given a template and a tokenizer that both write `<s>`, when counted, then it is one."""
    answer = await llava.answer(_shown(TextPart(""), max_tokens=0))
    assert answer.usage.prompt_tokens == len("user\n\nassistant\n") + len(["<s>", 1, 2, 3])


async def test_choices_share_a_prompt(llava: Subject):
    """Given n choices, when they are drawn, then the prompt is counted once, and they differ."""
    call = _shown(_picture("red"), QUESTION, n=3, temperature=1.5, seed=1)
    answer = await llava.answer(call)
    alone = await llava.answer(_shown(_picture("red"), QUESTION, max_tokens=0))
    assert answer.usage == Usage(alone.usage.prompt_tokens, 3 * 12)
    assert len({choice.text for choice in answer.choices}) == 3


async def test_a_stop_text_ends_an_answer_that_is_counted_all_the_same(llava: Subject):
    """Given a stop text, when it comes, then the answer ends before it, and usage is whole."""
    whole = await llava.answer(_shown(_picture("red"), QUESTION, max_tokens=30))
    said = whole.choices[0].text
    stop = said[2]
    answer = await llava.answer(_shown(_picture("red"), QUESTION, max_tokens=30, stop=(stop,)))
    assert answer.choices[0].text == said[: said.index(stop)]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == whole.usage.prompt_tokens
    assert 0 < answer.usage.completion_tokens < 30


@pytest.mark.parametrize("letters", [2010, 4000])
async def test_a_prompt_beyond_the_context_is_refused_with_its_length(llava: Subject, letters: int):
    """Given a prompt that a picture makes too long, when it is sent, then its length is told."""
    text = TextPart("x" * letters)
    tokens = letters + 20 + 3 * PICTURE_TOKENS
    with pytest.raises(PromptTooLong, match=f"is {CONTEXT_LENGTH} tokens.* has {tokens}"):
        await llava.answer(_shown(*[_picture("red")] * 3, text))
    assert await _said(llava, QUESTION)


async def test_an_answer_ends_where_the_context_does(llava: Subject):
    """Given a picture and text that nearly fill the context, then the answer has the rest."""
    call = _shown(_picture("red"), TextPart("x" * 1990), max_tokens=3000)
    answer = await llava.answer(call)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens == CONTEXT_LENGTH


# --- refusing ----------------------------------------------------------------------------------


async def test_a_broken_image_is_refused_where_it_stands(llava: Subject):
    """Given a file that is no image, when it is shown, then the refusal says which part it is."""
    cut = _picture("red").content[:60]
    with pytest.raises(InvalidParameter) as refusal:
        await llava.answer(_shown(QUESTION, ImagePart(cut, "image/png")))
    assert refusal.value.location == ("messages", 0, "content", 1)


async def test_pictures_have_bounds_together(llava: Subject):
    """Given too many pictures, or too many pixels in all, when shown, then they are refused."""
    with pytest.raises(InvalidParameter, match="16 images at most"):
        await llava.answer(_shown(*[_picture("red", (2, 2))] * (MAX_PICTURES + 1)))
    with pytest.raises(InvalidParameter, match="pixels together"):
        await llava.answer(_shown(*[_picture("red", (6000, 6000))] * 2))


@pytest.mark.parametrize(
    "text", ["<image>", "<ov_genai_image_0>", "<|image_1|>", "<|im_end|>", "\ufdd0"]
)
async def test_words_for_pictures_are_words_in_a_message(llava: Subject, text: str):
    """Given a message with the library's word for a picture, when it is read, then it is text."""
    alone = await llava.answer(_shown(TextPart(f"a {text} b")))
    shown = await llava.answer(_shown(_picture("red"), TextPart(f"a {text} b"), max_tokens=0))
    assert alone.choices[0].text
    assert shown.usage.prompt_tokens == alone.usage.prompt_tokens + PICTURE_TOKENS


async def test_a_place_without_a_picture_is_refused(llava: Subject):
    """Given a raw prompt with a place for a picture, when it is sent, then it is refused."""
    with pytest.raises(InvalidRequest, match="does not take this prompt"):
        await llava.answer(CompletionCall(("<image> x",), Sampling(max_tokens=2)))
    assert (await llava.say("Hi", max_tokens=2)).usage.completion_tokens > 0


# --- the rest, as with any model ---------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", "Hello", "<s>"])
async def test_text_is_completed_without_pictures(llava: Subject, prompt: str):
    """Given a prompt without pictures, when it is completed, then with its echo if asked."""
    sampling = Sampling(temperature=0, max_tokens=4, ignore_eos=True)
    answer = await llava.answer(CompletionCall((prompt,), sampling, echo=True))
    assert answer.choices[0].text.startswith(prompt)
    assert answer.usage.completion_tokens == 4
    assert answer.usage.prompt_tokens > 0


async def test_what_is_seen_can_be_said_under_a_schema(llava: Subject):
    """Given a schema and a picture, when it is answered, then with what the schema describes."""
    call = _shown(_picture("red"), QUESTION, max_tokens=400, temperature=1, seed=2)
    answer = await llava.answer(msgspec.structs.replace(call, format=PERSON))
    assert answer.choices[0].finish_reason == "stop"
    msgspec.json.decode(answer.choices[0].text, type=Person)


async def test_what_is_seen_can_lead_to_a_call(llava: Subject):
    """Given a tool that must be called, when a picture is shown, then the call is valid."""
    call = _shown(_picture("red"), QUESTION, max_tokens=400, temperature=1, seed=2)
    required = msgspec.structs.replace(
        call, tools=(WEATHER,), tool_choice="required", parallel_tool_calls=False
    )
    answer = await llava.answer(required)
    (made,) = answer.choices[0].tool_calls
    assert answer.usage.prompt_tokens > 31
    msgspec.json.decode(made.arguments, type=WeatherArguments)


async def test_a_cancelled_call_frees_its_slot(llava: Subject):
    """Given a call with a picture under way, when it is closed, then nothing is active."""
    deltas = llava.begin(_shown(_picture("red"), QUESTION, max_tokens=400))
    await anext(deltas)
    assert llava.engine.health().active == 1
    await deltas.aclose()
    assert await until(lambda: llava.engine.health() == Health())


async def test_scores_are_those_of_the_tokens(llava: Subject):
    """Given log probabilities, when a picture is asked about, then each token has its own."""
    deltas = await llava.deltas(_shown(_picture("red"), QUESTION, logprobs=0))
    scored = [t for delta in deltas if isinstance(delta, TextDelta) for t in delta.logprobs]
    assert scored
    assert all(token.logprob < 0 for token in scored)


async def test_a_conversation_without_pictures_goes_on(llava: Subject):
    """Given a plain chat, when it is answered, then as by a model that does not see."""
    answer = await llava.answer(chat_call("Hello", max_tokens=4, ignore_eos=True))
    assert answer.usage == Usage(25, 4)
