"""What is particular to the `openvino` engine."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from calling import TOOL_TEMPLATE, weather_so_far
from conformance import GREEDY, PATIENCE_S, Subject, chat_call, spec_of, until

from zaffre.core.answers import Answer
from zaffre.core.calls import (
    AssistantMessage,
    ChatCall,
    CompletionCall,
    Sampling,
    SystemMessage,
    TextPart,
    Tool,
    UserMessage,
)
from zaffre.core.engine import EngineSpec, Health
from zaffre.core.errors import (
    EngineFailed,
    InvalidRequest,
    ModelUnavailable,
    PromptTooLong,
    UnsupportedParameter,
)
from zaffre.engines.openvino.engine import OpenVinoEngine

SMALL_CONTEXT = 256
TWO_SLOTS = 2
COUNT = Sampling(max_tokens=0)
TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system messages') }}{% endif %}"
    "{% if messages[0]['role'] != 'user' %}{{ raise_exception('must begin with the user') }}"
    "{% endif %}{{ tools | tojson if tools else '' }}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if reasoning_effort %}{{ 'think ' * 10 if reasoning_effort == 'high' else 'think' }}"
    "{% endif %}{% if enable_thinking is defined and not enable_thinking %}<think></think>"
    "{% endif %}"
)
"""As Gemma's and others: no system messages, and the user begins. Tools go where they please,
and it has an ear for how long to think."""
LONG = {"max_tokens": 1000, "ignore_eos": True}
TINY_MODEL = Path(__file__).with_name("phi3_ir")
"""Loaded in a fifth of the time, for tests of the process and not of what it says."""


@pytest.fixture(scope="module")
async def small() -> AsyncIterator[Subject]:
    """An engine of its own, with two slots, a small context and a narrow template."""
    spec = spec_of("openvino", slots=TWO_SLOTS, context_length=SMALL_CONTEXT, default_max_tokens=7)
    card = msgspec.structs.replace(spec.card, chat_template=TEMPLATE)
    engine = OpenVinoEngine(msgspec.structs.replace(spec, card=card))
    yield Subject("openvino", engine, await engine.start())
    await engine.aclose()


def _runners() -> list[int]:
    """The runner processes that this process has started."""
    lists = [task / "children" for task in Path("/proc/self/task").iterdir()]
    children = [child for listed in lists for child in listed.read_text().split()]
    return [
        int(child)
        for child in children
        if b"zaffre.engines.openvino.runner" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


# --- files and options -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 4, 100, 3_000_000])
async def test_a_truncated_file_is_refused(tmp_path: Path, size: int):
    """Given a GGUF file that ends early, when it is loaded, then that is said."""
    spec = spec_of("openvino")
    file = tmp_path / "model.gguf"
    file.write_bytes(_beginning(Path(spec.path), size))
    with pytest.raises(EngineFailed, match=r"model\.gguf"):
        await OpenVinoEngine(msgspec.structs.replace(spec, path=str(file))).start()


def _beginning(file: Path, size: int) -> bytes:
    with file.open("rb") as whole:
        return whole.read(size)


async def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path):
    """Given an IR folder that lacks files, when it is loaded, then the first one is named."""
    (tmp_path / "openvino_model.xml").touch()
    (tmp_path / "openvino_model.bin").touch()
    with pytest.raises(EngineFailed, match=r"openvino_tokenizer\.xml is missing"):
        await OpenVinoEngine(_folder(tmp_path)).start()


async def test_a_broken_folder_is_refused(tmp_path: Path):
    """Given an IR folder of nonsense, when the library gives up, then its reason comes out."""
    before = _runners()
    for name in ("model", "tokenizer", "detokenizer"):
        (tmp_path / f"openvino_{name}.xml").write_text("<net")
        (tmp_path / f"openvino_{name}.bin").touch()
    with pytest.raises(EngineFailed, match="OpenVINO cannot load the model"):
        await OpenVinoEngine(_folder(tmp_path)).start()
    assert _runners() == before


def _folder(path: Path) -> EngineSpec:
    return msgspec.structs.replace(spec_of("openvino"), path=str(path))


# --- conversations -----------------------------------------------------------------------------


async def test_a_message_cannot_end_its_own_turn(openvino: Subject):
    """Given a message that spells out special tokens, when it is read, then they are its text."""
    plain = await openvino.say("Hi", max_tokens=0)
    spelled = await openvino.say("Hi<|im_end|>", max_tokens=0)
    # As a special token it would be one token more.
    assert spelled.usage.prompt_tokens > plain.usage.prompt_tokens + 1


async def test_special_tokens_count_in_a_completion(openvino: Subject):
    """Given a raw prompt with a special token, when it is counted, then that is one token."""
    answer = await openvino.answer(CompletionCall(("<|im_end|>",), Sampling(max_tokens=0)))
    assert answer.usage.prompt_tokens == 1


async def test_nothing_special_is_said(openvino: Subject):
    """Given an answer that ends by itself, when it is read, then its last token is not in it."""
    answer = await openvino.say("Say hello.", max_tokens=200, stop_token_ids=(17,))
    assert answer.choices[0].finish_reason == "stop"
    assert "<|" not in answer.choices[0].text
    assert "!" not in answer.choices[0].text


async def test_a_template_without_a_system_role_gets_the_text_all_the_same(small: Subject):
    """Given a template that refuses system messages, when there is one, the user says it, too."""
    user = UserMessage((TextPart("Hi"),))
    alone = await small.answer(ChatCall((user,), sampling=COUNT))
    both = await small.answer(ChatCall((SystemMessage("Be very brief."), user), sampling=COUNT))
    assert both.usage.prompt_tokens >= alone.usage.prompt_tokens + 4


async def test_what_a_template_says_no_to_is_told(small: Subject):
    """Given messages that the template refuses, when they are sent, then its own words come out."""
    with pytest.raises(InvalidRequest, match="must begin with the user"):
        await small.answer(ChatCall((AssistantMessage("Hi"),), sampling=GREEDY))
    assert (await small.say("Hi", max_tokens=2)).usage.completion_tokens == 2


async def test_a_template_that_takes_tools_gets_them(small: Subject):
    """Given a template with a place for tools, when some are offered, then they stand there."""
    tool = Tool("clock", {}, "word " * 50)
    without = await small.say("Hi", max_tokens=0)
    offered = await small.say("Hi", max_tokens=0, tools=(tool,))
    hidden = await small.say("Hi", max_tokens=0, tools=(tool,), tool_choice="none")
    assert 50 < offered.usage.prompt_tokens - without.usage.prompt_tokens < 120
    assert hidden.usage == without.usage


async def test_a_call_that_the_model_chooses_to_make_is_valid():
    """Given a model that copies earlier calls, when they do not fit the tool, then its own does."""
    city = {"type": "string", "maxLength": 20}
    unit = {"enum": ["kelvin", "rankine"]}
    schema = {"type": "object", "properties": {"city": city, "unit": unit}, "required": ["unit"]}
    spec = spec_of("openvino")
    card = msgspec.structs.replace(spec.card, chat_template=TOOL_TEMPLATE)
    engine = OpenVinoEngine(msgspec.structs.replace(spec, card=card))
    subject = Subject("openvino", engine, await engine.start())
    try:
        sampling = Sampling(temperature=0, max_tokens=60)
        call = ChatCall(weather_so_far(), sampling, tools=(Tool("get_weather", schema),))
        answer = await subject.answer(call)
        free = await subject.answer(msgspec.structs.replace(call, tools=()))
    finally:
        await engine.aclose()
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert msgspec.json.decode(choice.tool_calls[0].arguments)["unit"] in unit["enum"]
    assert '"unit": "c"' in free.choices[0].text


async def test_the_template_is_told_the_effort(openvino: Subject, small: Subject):
    """Given an effort, when the template looks at it, then it has an effect, else it is refused."""
    lengths = {
        effort: (await small.say("Hi", max_tokens=0, reasoning_effort=effort)).usage.prompt_tokens
        for effort in (None, "low", "high", "none")
    }
    assert lengths[None] < lengths["low"] < lengths["none"]
    assert lengths["low"] + 9 <= lengths["high"]
    with pytest.raises(UnsupportedParameter):
        await openvino.say("Hi", reasoning_effort="low")


async def test_numbers_that_cannot_be_passed_on_are_refused(small: Subject):
    """Given a tool with a number of a hundred bits, when it is offered, then that is refused."""
    tool = Tool("count", {"type": "object", "x-most": 2**100})
    with pytest.raises(InvalidRequest, match="64 bits"):
        await small.say("Hi", tools=(tool,))
    assert small.engine.health() == Health()


# --- context and slots -------------------------------------------------------------------------


async def test_an_answer_ends_where_the_context_does(small: Subject):
    """Given a prompt that nearly fills the context, when answered, then exactly to the end."""
    call = chat_call("word " * (SMALL_CONTEXT - 60), max_tokens=500, ignore_eos=True)
    answer = await small.answer(call)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens == SMALL_CONTEXT


async def test_a_prompt_as_long_as_the_context_is_refused(small: Subject):
    """Given a prompt that leaves no room, when it is sent, then it is refused with its length."""
    with pytest.raises(PromptTooLong, match=f"is {SMALL_CONTEXT} tokens"):
        await small.answer(CompletionCall(("word " * SMALL_CONTEXT,), sampling=GREEDY))


async def test_the_default_bound_is_an_option(small: Subject):
    """Given no bound from the client, when a chat is answered, then the option's holds."""
    answer = await small.say("Tell me a long story.", ignore_eos=True)
    assert answer.usage.completion_tokens == 7


async def test_what_finds_no_slot_waits(small: Subject):
    """Given more calls than slots, when they run, then some wait, and all are answered."""
    calls = [chat_call(f"Tell me story {n}.", max_tokens=40, ignore_eos=True) for n in range(5)]
    tasks = [asyncio.create_task(small.answer(call)) for call in calls]
    health = small.engine.health
    assert await until(lambda: (health().active, health().waiting) == (TWO_SLOTS, 3))
    answers = await asyncio.gather(*tasks)
    assert [answer.usage.completion_tokens for answer in answers] == [40] * 5
    assert await small.idle()


# --- the runner --------------------------------------------------------------------------------


@pytest.fixture
async def tiny() -> AsyncIterator[tuple[Subject, int]]:
    """An engine for one test, which may break it, and the process that it runs in."""
    before = set(_runners())
    engine = OpenVinoEngine(_folder(TINY_MODEL))
    subject = Subject("openvino", engine, await engine.start())
    (runner,) = set(_runners()) - before
    yield subject, runner
    await engine.aclose()


async def test_a_dead_runner_fails_what_it_did_and_is_replaced(tiny: tuple[Subject, int]):
    """Given a call under way, when the process with the model dies, then it fails, and others run.

    The one that comes while the model is loaded again is told to come back.
    """
    subject, runner = tiny
    deltas = subject.begin(chat_call("Tell me a story.", **LONG))
    await anext(deltas)
    os.kill(runner, signal.SIGKILL)
    with pytest.raises(EngineFailed):
        _ = [delta async for delta in deltas]
    assert subject.engine.health().active == 0
    with pytest.raises(ModelUnavailable):
        await subject.say("Hi")
    assert (await _say_when_back(subject)).choices[0].text


async def _say_when_back(subject: Subject) -> Answer:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await subject.say("Hi", max_tokens=3)
            except ModelUnavailable:
                await asyncio.sleep(0.05)


async def test_closing_fails_what_is_under_way(tiny: tuple[Subject, int]):
    """Given a call under way, when the engine is closed, then it fails and no process is left."""
    subject, runner = tiny
    deltas = subject.begin(chat_call("Tell me a story.", **LONG))
    await anext(deltas)
    await subject.engine.aclose()
    await subject.engine.aclose()
    with pytest.raises(EngineFailed):
        _ = [delta async for delta in deltas]
    assert runner not in _runners()
    with pytest.raises(EngineFailed):
        await subject.say("Hi")


async def test_the_second_start_reads_what_the_first_one_kept(tmp_path: Path):
    """Given a GGUF file, when it is loaded twice, then the IR is written once and says the same."""
    file = tmp_path / "model.gguf"
    shutil.copy(spec_of("openvino").path, file)
    spec = msgspec.structs.replace(spec_of("openvino"), path=str(file))
    said, kept = [], []
    for _ in range(2):
        engine = OpenVinoEngine(spec)
        subject = Subject("openvino", engine, await engine.start())
        said.append(await subject.say("What is the capital of France?", max_tokens=8))
        kept.append(_written(tmp_path))
        await engine.aclose()
    assert said[0] == said[1]
    assert kept[0] == kept[1] != {}


def _written(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.bin")}
