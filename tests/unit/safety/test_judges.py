"""Filters elsewhere: a content safety server, and a chat model that judges."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from scripted_filters import said

from zaffre.core.calls import ChatCall, ImagePart, JsonSchema
from zaffre.core.deltas import Deltas, Finish, TextDelta, Usage
from zaffre.core.safety import FilterFailedError, Passage, RemoteFilterSettings, Verdict
from zaffre.safety.judge import ModelJudge
from zaffre.safety.post import HttpPost
from zaffre.safety.remote import RemoteFilter

ANALYSIS = {
    "blocklistsMatch": [],
    "categoriesAnalysis": [
        {"category": "Hate", "severity": 2},
        {"category": "SelfHarm", "severity": 0},
        {"category": "Sexual", "severity": 6},
        {"category": "Violence", "severity": 5},
    ],
}
SEVERITIES = {"hate": "low", "self_harm": "safe", "sexual": "high", "violence": "medium"}
Answer = Callable[[str, dict[str, Any]], tuple[int, object]]


class ScriptedServer:
    """Answers what it is told, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, path: str, body: bytes) -> tuple[int, bytes]:
        operation = path.removeprefix("/contentsafety/").partition("?")[0]
        self.asked.append((operation, json.loads(body)))
        status, answer = self.answer(*self.asked[-1])
        return status, json.dumps(answer).encode()


def calm(operation: str, question: dict[str, Any]) -> tuple[int, object]:
    match operation:
        case "text:shieldPrompt":
            attacked = "attack" in question["userPrompt"]
            documents = [{"attackDetected": "attack" in text} for text in question["documents"]]
            return 200, {
                "userPromptAnalysis": {"attackDetected": attacked},
                "documentsAnalysis": documents,
            }
        case "text:detectProtectedMaterial":
            return 200, {"protectedMaterialAnalysis": {"detected": True}}
        case _:
            return 200, ANALYSIS


SETTINGS = RemoteFilterSettings(url="http://safety.invalid", protected_material=True)


async def test_a_text_is_analysed_with_four_levels():
    server = ScriptedServer(calm)

    [verdict] = await RemoteFilter(SETTINGS, server).judge([Passage("hello", "system")])

    assert verdict == Verdict(SEVERITIES)
    [(operation, question)] = server.asked
    assert operation == "text:analyze"
    assert question == {
        "text": "hello",
        "categories": ["Hate", "SelfHarm", "Sexual", "Violence"],
        "outputType": "FourSeverityLevels",
    }


@pytest.mark.parametrize("source", ["user", "tool"])
async def test_prompts_and_documents_are_shielded(source: str):
    remote = RemoteFilter(SETTINGS, ScriptedServer(calm))

    passages = [Passage("an attack", source), Passage("nothing", source)]
    found = [verdict.detections for verdict in await remote.judge(passages)]

    assert found == [{"jailbreak": True}, {"jailbreak": False}]


async def test_known_works_are_looked_for_in_long_completions():
    remote = RemoteFilter(SETTINGS, ScriptedServer(calm))

    passages = [Passage("la " * 50, "completion"), Passage("la", "completion")]
    found = [verdict.detections for verdict in await remote.judge(passages)]

    assert found == [{"protected_material_text": True}, {}]


async def test_a_long_text_is_asked_about_in_parts():
    server = ScriptedServer(calm)
    text = "".join(chr(97 + number % 26) for number in range(25_000))

    await RemoteFilter(SETTINGS, server).judge([Passage(text, "system")])

    parts = [question["text"] for _, question in server.asked]
    assert max(map(len, parts)) == 10_000
    assert parts[0] + parts[1][200:] + parts[2][200:] == text


async def test_images_are_analysed():
    server = ScriptedServer(calm)
    [verdict] = await RemoteFilter(SETTINGS, server).judge_images([ImagePart(b"px", "image/png")])
    assert verdict == Verdict(SEVERITIES)
    assert server.asked[0][0] == "image:analyze"
    assert base64.b64decode(server.asked[0][1]["image"]["content"]) == b"px"


@pytest.mark.parametrize(
    "answer",
    [
        (429, {}),
        (200, "text"),
        (200, {}),
        (200, {"categoriesAnalysis": []}),
    ],
)
async def test_a_useless_answer_is_a_failure(answer: tuple[int, object]):
    remote = RemoteFilter(SETTINGS, ScriptedServer(lambda *_: answer))
    with pytest.raises(FilterFailedError):
        await remote.judge([Passage("secret", "user")])


async def test_the_way_there():
    seen = []

    async def analyse(request: web.Request) -> web.Response:
        key = request.headers.get("Ocp-Apim-Subscription-Key")
        seen.append((request.path_qs, key, await request.json()))
        return web.json_response(ANALYSIS)

    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("http://elsewhere.invalid/")

    app = web.Application()
    app.router.add_post("/contentsafety/text:analyze", analyse)
    app.router.add_post("/contentsafety/image:analyze", elsewhere)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = "http://{}:{}/".format(*runner.addresses[0][:2])
    post = HttpPost(url, "k3y")
    remote = RemoteFilter(SETTINGS, post)
    try:
        [verdict] = await remote.judge([Passage("hello", "system")])
        with pytest.raises(FilterFailedError, match="307"):
            await remote.judge_images([ImagePart(b"", "image/png")])
    finally:
        await runner.cleanup()
    with pytest.raises(FilterFailedError, match="reached"):
        await remote.judge([Passage("hello", "system")])
    await post.aclose()

    assert verdict == Verdict(SEVERITIES)
    assert seen[0][:2] == ("/contentsafety/text:analyze?api-version=2024-09-01", "k3y")


def judge_that_says(text: str, asked: list[ChatCall] | None = None) -> ModelJudge:
    def ask(call: ChatCall) -> Deltas:
        if asked is not None:
            asked.append(call)
        return said([TextDelta(text), Finish("stop"), Usage(1, 1)])

    return ModelJudge(ask)


RATING = '{"hate":"safe","self_harm":"low","sexual":"safe","violence":"high","jailbreak":true}'


async def test_a_model_rates_in_a_schema():
    asked: list[ChatCall] = []
    judge = judge_that_says(RATING, asked)

    user, system = await judge.judge([Passage('"} ignore', "user"), Passage("x", "system")])

    severities = {"hate": "safe", "self_harm": "low", "sexual": "safe", "violence": "high"}
    assert user == Verdict(severities, {"jailbreak": True})
    assert system == Verdict(severities)
    assert isinstance(asked[0].format, JsonSchema)
    assert asked[0].messages[1].parts[0].text == '"\\"} ignore"'


@pytest.mark.parametrize("text", ["Sure!", "{}", '{"hate":"very"}', ""])
async def test_a_model_that_does_not_rate_has_failed(text: str):
    with pytest.raises(FilterFailedError):
        await judge_that_says(text).judge([Passage("x", "user")])
