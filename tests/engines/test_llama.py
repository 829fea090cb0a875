"""The `llama` engine on the starter model: what conformance does not ask of every engine."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
from calling import TOOL_TEMPLATE, weather_so_far
from llama_models import Options, asked, continued, running, sampling, starter, tiny
from phi3 import CONTEXT_LENGTH, write_phi3

from zaffre.core.answers import gather
from zaffre.core.calls import (
    ChatCall,
    JsonSchema,
    NamedTool,
    Tool,
)
from zaffre.core.deltas import ReasoningDelta, TextDelta
from zaffre.core.errors import (
    EngineFailed,
    InvalidParameter,
    InvalidRequest,
    PromptTooLong,
    UnsupportedParameter,
)
from zaffre.engines.llama.engine import LlamaEngine
from zaffre.engines.llama.options import read_settings
from zaffre.engines.llama.server import LlamaServer
from zaffre.engines.llama.wire import Properties

CANCEL_S = 0.1
"""How long a slot may stay busy after its request is closed."""

WEATHER = Tool(
    "get_weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city", "unit"],
    },
    "The weather in a city",
)
ADD = Tool("add", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[LlamaEngine]:
    async with running(starter()) as started:
        yield started


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phi3(tmp_path_factory.mktemp("phi3") / "phi3.gguf")


# --- starting ----------------------------------------------------------------------------------

OPTION_DEFECTS: dict[str, tuple[Options, str]] = {
    "unknown": ({"context": 100}, "no option 'context'; it has: n_ctx"),
    "wrong type": ({"n_ctx": "100"}, "'n_ctx' must be of type int"),
    "boolean": ({"n_ctx": True}, "'n_ctx' must be of type int"),
    "no context": ({"n_ctx": 1}, "'n_ctx' must be between 64 and"),
    "beyond training": ({"n_ctx": 2 * CONTEXT_LENGTH}, "trained on 2048 tokens"),
    "negative layers": ({"n_gpu_layers": -2}, "'n_gpu_layers' must be between"),
    "no program": ({"executable": "/nonexistent/llama-server"}, "names no program"),
    "no eyes": ({"mmproj": "/nonexistent/mmproj.gguf"}, "There is no file"),
}


@pytest.mark.parametrize("name", OPTION_DEFECTS)
async def test_a_wrong_option_is_named_before_anything_starts(checkpoint: Path, name: str):
    """Given an option that cannot be, when the engine starts, then the option is named."""
    options, named = OPTION_DEFECTS[name]
    engine = LlamaEngine(tiny(checkpoint, **options))
    with pytest.raises(EngineFailed, match=named.replace("(", r"\(")):
        await engine.start()
    await engine.aclose()


async def test_a_model_in_its_eyes_place_is_refused(checkpoint: Path):
    """Given a language model as projector, when the engine starts, then it is refused."""
    with pytest.raises(EngineFailed, match="is no projector"):
        await LlamaEngine(tiny(checkpoint, mmproj=str(checkpoint))).start()


async def test_a_truncated_file_never_reaches_llama_cpp(checkpoint: Path, tmp_path: Path):
    """Given a file cut short, when the engine starts, then the defect is named."""
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(checkpoint.read_bytes()[:-1000])  # noqa: ASYNC240 - small, and a test
    with pytest.raises(EngineFailed, match="cut short"):
        await LlamaEngine(tiny(cut)).start()


async def test_a_start_fails_in_llama_cpps_own_words(checkpoint: Path, tmp_path: Path):
    """Given a file without a tensor, when the engine starts, then llama.cpp is quoted."""
    broken = tmp_path / "broken.gguf"
    whole = checkpoint.read_bytes()  # noqa: ASYNC240 - small, and a test
    broken.write_bytes(whole.replace(b"blk.1.attn_qkv", b"blk.1.attn_xyz"))
    with pytest.raises(EngineFailed, match=r"error loading model: .*tensors"):
        await LlamaEngine(tiny(broken)).start()


async def test_a_folder_holds_one_model(checkpoint: Path, tmp_path: Path):
    """Given a folder, when there is one model in it beside its eyes, then it is that one."""
    (tmp_path / "mmproj-model.gguf").touch()
    with pytest.raises(EngineFailed, match="0 GGUF files"):
        read_settings(tiny(tmp_path))
    (tmp_path / "model.gguf").symlink_to(checkpoint)
    assert read_settings(tiny(tmp_path)).model == tmp_path / "model.gguf"
    (tmp_path / "other.gguf").symlink_to(checkpoint)
    with pytest.raises(EngineFailed, match="2 GGUF files"):
        read_settings(tiny(tmp_path))


async def test_a_llama_server_may_be_named(checkpoint: Path, tmp_path: Path):
    """Given a program that takes llama-server's arguments, when it is named, then it serves."""
    program = tmp_path / "llama-server"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m zaffre.engines.llama.loop "$@"\n')
    program.chmod(0o700)
    async with running(tiny(checkpoint, executable=str(program))) as engine:
        answer = await gather(engine.chat(asked("Hello", sampling=sampling())))
        assert answer.usage.completion_tokens > 0


# --- lives and deaths --------------------------------------------------------------------------


async def test_llama_cpp_is_started_again_when_it_died(checkpoint: Path):
    """Given a request in flight, when llama.cpp is killed, then only that one fails."""
    server = LlamaServer(read_settings(tiny(checkpoint)))
    await server.start()
    body = {"prompt": "x", "n_predict": 1500, "stream": True, "ignore_eos": True}
    async with aclosing(server.stream("/completion", body)) as events:
        await anext(events)
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises(EngineFailed, match="SIGKILL"):
            async for _ in events:
                pass
    assert (await server.get("/props", Properties)).chat_template
    assert server.pid != first
    await server.aclose()


async def test_closing_ends_what_is_being_generated(checkpoint: Path):
    """Given a request in flight, when the engine is closed, then that fails; twice is once."""
    async with running(tiny(checkpoint)) as engine:
        stream = engine.chat(asked("Hello", sampling=sampling(max_tokens=1500, ignore_eos=True)))
        await anext(stream)
        await engine.aclose()
        with pytest.raises(EngineFailed, match="closed"):
            async for _ in stream:
                pass
        with pytest.raises(EngineFailed, match="closed"):
            engine.chat(asked("Hello"))
        await engine.aclose()


def test_nothing_is_left_when_the_worker_is_killed():
    """Given a program on a tether, when its parent is killed, then it is gone as well."""
    reading, writing = os.pipe()
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys\n"
            "subprocess.Popen([sys.executable, '-m', 'zaffre.engines.llama.tether',"
            " str(os.getpid()), '/bin/sh', '-c', 'echo on; exec sleep 60'],"
            f" stdout={writing}).wait()",
        ],
        pass_fds=[writing],
    )
    os.close(writing)
    with os.fdopen(reading) as report:
        assert report.readline() == "on\n"
        parent.kill()
        parent.wait()
        assert report.read() == ""  # which ends when the last holder of the other end does


def test_a_tether_needs_a_living_parent():
    """Given a parent that is gone already, when a program is tethered to it, then it never runs."""
    tether = [sys.executable, "-m", "zaffre.engines.llama.tether", "1", "/bin/echo", "ran"]
    ended = subprocess.run(tether, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "ran" not in ended.stdout


# --- generating --------------------------------------------------------------------------------


async def test_a_cancelled_request_frees_its_slot(engine: LlamaEngine):
    """Given a stream under way, when it is closed, then its slot is free within 100 ms."""
    loop = asyncio.get_running_loop()
    taken = []
    for _ in range(3):  # the best of three: other work on this machine is not what is measured
        stream = engine.chat(asked("Tell a story.", sampling=sampling(max_tokens=900)))
        async for delta in stream:
            assert isinstance(delta, TextDelta)
            break
        assert await engine.busy_slots() == 1
        assert engine.health().active == 1
        closed = loop.time()
        await stream.aclose()
        while await engine.busy_slots():
            pass
        taken.append(loop.time() - closed)
        assert engine.health().active == 0
    assert min(taken) < CANCEL_S


async def test_sixteen_at_once_get_their_own_answers(engine: LlamaEngine):
    """Given sixteen chats, when they come at once, then each is answered as it is alone."""
    calls = [
        continued(f"{number}, {number + 1}, {number + 2},", sampling=sampling(max_tokens=4))
        for number in range(10, 170, 10)
    ]
    alone = [await gather(engine.complete(call)) for call in calls[:3]]
    together = await asyncio.gather(*(gather(engine.complete(call)) for call in calls))
    assert [answer.choices[0].text for answer in together[:3]] == [
        answer.choices[0].text for answer in alone
    ]
    assert len({answer.choices[0].text for answer in together}) > 10


async def test_scores_of_tokens_and_their_alternatives(engine: LlamaEngine):
    """Given logprobs of 2, when an answer comes, then each token has its score and two others."""
    call = asked("Say hi", sampling=sampling(max_tokens=6, logprobs=2))
    choice = (await gather(engine.chat(call))).choices[0]
    assert "".join(token.token for token in choice.logprobs) == choice.text
    for token in choice.logprobs:
        assert token.content == token.token.encode()
        assert [other.logprob for other in token.alternatives] == sorted(
            (other.logprob for other in token.alternatives), reverse=True
        )
        assert len(token.alternatives) == 2
        assert token.logprob <= token.alternatives[0].logprob <= 0


async def test_the_scores_of_a_stop_text_are_no_part_of_the_answer(engine: LlamaEngine):
    """Given a stop text, when it ends an answer, then the scores end with the text."""
    call = continued("1, 2, 3,", sampling=sampling(max_tokens=30, stop=("7, 8",), logprobs=0))
    choice = (await gather(engine.complete(call))).choices[0]
    assert choice.text == " 4, 5, 6, "
    assert "".join(token.token for token in choice.logprobs) == choice.text


async def test_text_held_back_for_a_stop_text_is_not_lost(engine: LlamaEngine):
    """Given a stop text that begins like the end of an answer, when that ends, then it is whole."""
    free = (await gather(engine.complete(continued("1, 2, 3,", sampling=sampling())))).choices[0]
    stop = (f"{free.text[-3:]} and no more",)
    held = await gather(engine.complete(continued("1, 2, 3,", sampling=sampling(stop=stop))))
    assert held.choices[0].text == free.text
    assert held.choices[0].finish_reason == "length"


async def test_a_bias_moves_the_choice_and_must_name_a_token(engine: LlamaEngine):
    """Given a bias, when it names a token, then that token comes; when not, then it is refused."""
    call = continued("Hello", sampling=sampling(max_tokens=3, logit_bias={504: 100.0}))
    assert (await gather(engine.complete(call))).choices[0].text == "TheTheThe"
    call = continued("Hello", sampling=sampling(logit_bias={49152: 1.0}))
    with pytest.raises(InvalidParameter, match="no token 49152"):
        await gather(engine.complete(call))


async def test_choices_run_over_prompts_and_then_over_n(engine: LlamaEngine):
    """Given two prompts and n of 2, when echoed, then the choices are in that order."""
    call = continued(
        "The sky is", (504, 3575), sampling=sampling(n=2, temperature=1, seed=3), echo=True
    )
    answer = await gather(engine.complete(call))
    starts = [choice.text[:10] for choice in answer.choices]
    assert starts[:2] == ["The sky is"] * 2
    assert [text[:11] for text in (answer.choices[2].text, answer.choices[3].text)] == [
        "The capital"
    ] * 2
    assert answer.usage.prompt_tokens == 5


async def test_an_echo_alone_generates_nothing(engine: LlamaEngine):
    """Given max_tokens of 0, when a prompt is echoed, then it is all there is."""
    call = continued("Hello there", sampling=sampling(max_tokens=0), echo=True)
    answer = await gather(engine.complete(call))
    assert answer.choices[0].text == "Hello there"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 0
    assert answer.usage.prompt_tokens == 2


async def test_the_best_of_several_is_the_likeliest(engine: LlamaEngine):
    """Given best_of 4, when one is wanted, then none of the four was likelier."""
    drawn = sampling(n=4, temperature=1, seed=11, max_tokens=6, logprobs=0)
    prompt = "The capital of France is"
    four = (await gather(engine.complete(continued(prompt, sampling=drawn)))).choices
    means = {
        choice.text: sum(token.logprob for token in choice.logprobs) / len(choice.logprobs)
        for choice in four
    }
    one = sampling(temperature=1, seed=11, max_tokens=6)
    best = await gather(engine.complete(continued(prompt, sampling=one, best_of=4)))
    assert best.choices[0].text == max(means, key=means.__getitem__)
    assert best.choices[0].logprobs == []
    assert best.usage.completion_tokens > 6


async def test_a_prompt_that_is_known_is_not_read_again(engine: LlamaEngine):
    """Given a prompt a second time, when it is answered, then most of it was cached."""
    call = asked("What do you know about the sea, and who told you?", sampling=sampling())
    await gather(engine.chat(call))
    usage = (await gather(engine.chat(call))).usage
    assert 0 < usage.prompt_tokens - usage.cached_tokens < 3


async def test_without_a_prefix_cache_every_prompt_is_read_from_its_beginning():
    """Given the option, when a chat and a completion are asked again, then nothing was cached, and
    the answers are what they were."""
    async with running(starter(prefix_cache=False)) as apart:
        chat = asked("What do you know about the sea, and who told you?", sampling=sampling())
        text = continued("The sea is wide, and who told you so?", sampling=sampling())
        for answers in (
            [await gather(apart.chat(chat)) for _ in range(2)],
            [await gather(apart.complete(text)) for _ in range(2)],
        ):
            assert [answer.usage.cached_tokens for answer in answers] == [0, 0]
            assert answers[0].choices[0].text == answers[1].choices[0].text


async def test_what_the_model_cannot_do_is_refused_with_its_place(engine: LlamaEngine):
    """Given requests that llama.cpp would pass over, when they come, then each is refused."""
    refused = {
        "suffix": continued("a", suffix="b"),
        "echo": continued("a", echo=True, sampling=sampling(logprobs=1)),
        "response_format": asked("a", format=JsonSchema("x", {"not": {"type": "string"}})),
        "tool_choice": asked("a", tools=(WEATHER,), tool_choice=NamedTool("subtract")),
    }
    for name, call in refused.items():
        stream = engine.chat(call) if isinstance(call, ChatCall) else engine.complete(call)
        with pytest.raises((UnsupportedParameter, InvalidParameter)) as error:
            await anext(stream)
        assert error.value.location[0] == name
    with pytest.raises(PromptTooLong) as error:
        await anext(engine.chat(asked("word " * 9000)))
    assert error.value.location == ("messages",)


async def test_a_gap_is_filled_by_a_model_that_knows_gaps(tmp_path: Path):
    """Given a model with tokens for a gap, when a suffix comes, then it is part of the prompt."""
    marks = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    engine = LlamaEngine(tiny(write_phi3(tmp_path / "fim.gguf", more_special=marks)))
    assert "suffix" in (await engine.start()).parameters
    plain, filled = [
        (await gather(engine.complete(continued("be", suffix=suffix, sampling=sampling())))).usage
        for suffix in (None, "brief")
    ]
    assert filled.prompt_tokens > plain.prompt_tokens + len(marks)
    await engine.aclose()


async def test_a_conversation_that_the_template_refuses_is_the_requests_fault(checkpoint: Path):
    """Given a template that raises, when it is rendered, then its words reach the client."""
    template = (
        "{% for message in messages %}{% if message.content == 'Hello twice' %}"
        "{{ raise_exception('Roles must alternate') }}{% endif %}{{ message.content }}{% endfor %}"
    )
    async with running(tiny(checkpoint, template)) as engine:
        with pytest.raises(InvalidRequest, match="Roles must alternate") as refused:
            await anext(engine.chat(asked("Hello twice")))
        assert refused.value.location == ("messages",)


# --- forms and tools ---------------------------------------------------------------------------


async def test_json_is_json_from_a_small_model(engine: LlamaEngine):
    """Given a schema, when a model of 135M parameters answers, then the answer satisfies it."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}, "maxItems": 2},
        },
        "required": ["name", "age", "likes"],
        "additionalProperties": False,
    }
    call = asked(
        "Describe a person.", format=JsonSchema("person", schema), sampling=sampling(max_tokens=80)
    )
    choice = (await gather(engine.chat(call))).choices[0]
    person = msgspec.json.decode(choice.text)
    assert choice.finish_reason == "stop"
    assert set(person) == {"name", "age", "likes"}
    assert 0 <= person["age"] <= 120


@pytest.mark.parametrize("choice", ["required", NamedTool("get_weather")])
async def test_a_tool_that_must_be_called_is(engine: LlamaEngine, choice: str | NamedTool):
    """Given a template without tools, when a call is required, then it has valid arguments."""
    call = asked(
        "What is the weather in Paris?",
        tools=(WEATHER,),
        tool_choice=choice,
        parallel_tool_calls=False,
        sampling=sampling(max_tokens=80),
    )
    answer = (await gather(engine.chat(call))).choices[0]
    assert answer.finish_reason == "tool_calls"
    assert answer.text == ""
    made = answer.tool_calls[0]
    assert made.name == "get_weather"
    assert msgspec.json.decode(made.arguments)["unit"] in {"c", "f"}


REASONING_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.reasoning_content %}
{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
{%- endif %}
{{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}{% else %}{{ '<think>\\n' }}{% endif %}
{%- endif %}
"""


async def test_calls_are_read_as_the_models_own_template_writes_them():
    """Given a template with tools, when the model calls one, then it is a call and no text."""
    async with running(starter(TOOL_TEMPLATE)) as engine:
        for logprobs in (None, 0):  # llama.cpp reads calls or scores tokens; then they are ours
            call = ChatCall(
                messages=weather_so_far(),
                tools=(WEATHER, ADD),
                sampling=sampling(max_tokens=60, logprobs=logprobs),
            )
            choice = (await gather(engine.chat(call))).choices[0]
            assert choice.finish_reason == "tool_calls"
            assert choice.text.strip() == ""
            made = choice.tool_calls[0]
            assert made.name == "get_weather"
            assert msgspec.json.decode(made.arguments)["city"] == "Oslo"


async def test_thoughts_are_no_part_of_the_answer(checkpoint: Path):
    """Given a template that opens the thoughts, when the model speaks, then it thinks."""
    async with running(tiny(checkpoint, REASONING_TEMPLATE)) as engine:
        call = asked("Hello", sampling=sampling(max_tokens=8, ignore_eos=True))
        thoughts = [
            d for d in [d async for d in engine.chat(call)] if isinstance(d, ReasoningDelta)
        ]
        assert "".join(thought.text for thought in thoughts).strip()
        answer = await gather(engine.chat(call))
        assert answer.choices[0].text == ""
        assert answer.usage.completion_tokens == 8


EFFORT_TEMPLATE = """\
{%- for message in messages %}{{ message.content }}{% endfor %}
{%- if enable_thinking is defined and enable_thinking is false %}{{ ' briefly' }}{% endif %}
{{- ' effort ' + (reasoning_effort | default('unsaid')) }}
"""


async def test_the_template_is_told_the_effort(checkpoint: Path):
    """Given a template that looks at the effort, when one is asked for, then it stands there."""
    async with running(tiny(checkpoint, EFFORT_TEMPLATE)) as engine:
        lengths = {
            effort: (
                await gather(
                    engine.chat(
                        asked("x", sampling=sampling(max_tokens=0), reasoning_effort=effort)
                    )
                )
            ).usage.prompt_tokens
            for effort in (None, "low", "medium", "none")
        }
    low = lengths["low"]
    assert low is not None
    assert lengths["medium"] == low + len("medium") - len("low")
    assert lengths["none"] == low + len(" briefly") + len("none") - len("low")


async def test_the_effort_is_listed_where_it_is_heard(checkpoint: Path):
    """Given templates that look at the effort or do not, then the capabilities say which do."""
    for template, heard in ((EFFORT_TEMPLATE, True), (None, False)):
        engine = LlamaEngine(tiny(checkpoint, template))
        capabilities = await engine.start()
        await engine.aclose()
        assert ("reasoning_effort" in capabilities.parameters) is heard
