"""The filter on another server, in the REST shape of Azure AI Content Safety."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct

from zaffre.core.calls import ImagePart
from zaffre.core.safety import (
    Category,
    Detection,
    FilterFailedError,
    Passage,
    RemoteFilterSettings,
    Severity,
    Verdict,
)
from zaffre.safety.segments import portions

MAX_CHARACTERS = 10_000
"""The service takes no longer text; longer ones are asked about in parts."""
MAX_CALLS = 8
"""Calls under way at a time for one judgement."""
MIN_KNOWN_WORK = 110
"""Characters below which the service does not look for known works."""
_CATEGORIES: dict[str, Category] = {
    "Hate": "hate",
    "SelfHarm": "self_harm",
    "Sexual": "sexual",
    "Violence": "violence",
}
_SEVERITIES: dict[int, Severity] = {0: "safe", 2: "low", 4: "medium", 6: "high"}
_OPERATIONS = Literal[
    "text:analyze", "text:shieldPrompt", "text:detectProtectedMaterial", "image:analyze"
]
T = TypeVar("T")


class Post(Protocol):
    """Sends one request to the server."""

    async def __call__(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to JSON posted to `path`, which begins with a slash.

        Raises `FilterFailedError` when there is none.
        """


class _TextQuestion(Struct, rename="camel"):
    text: str
    categories: tuple[str, ...] = tuple(_CATEGORIES)
    output_type: str = "FourSeverityLevels"


class _ImageContent(Struct):
    content: str


class _ImageQuestion(Struct, rename="camel"):
    image: _ImageContent
    categories: tuple[str, ...] = tuple(_CATEGORIES)
    output_type: str = "FourSeverityLevels"


class _CategoryAnalysis(Struct):
    category: str
    severity: int = 0


class _Analysis(Struct, rename="camel"):
    categories_analysis: list[_CategoryAnalysis]


class _ShieldQuestion(Struct, rename="camel"):
    user_prompt: str = ""
    documents: list[str] = []


class _Attack(Struct, rename="camel"):
    attack_detected: bool


class _ShieldAnswer(Struct, rename="camel"):
    user_prompt_analysis: _Attack | None = None
    documents_analysis: list[_Attack] = []


class _WorkQuestion(Struct):
    text: str


class _Work(Struct):
    detected: bool


class _WorkAnswer(Struct, rename="camel"):
    protected_material_analysis: _Work


class RemoteFilter:
    """Asks a content safety server. A `Filter` and an `ImageFilter`."""

    name = "remote"
    reach = 0

    def __init__(self, settings: RemoteFilterSettings, post: Post) -> None:
        self._settings = settings
        self._post = post

    async def judge(self, passages: Sequence[Passage]) -> list[Verdict]:
        """See `Filter.judge`."""
        room = asyncio.Semaphore(MAX_CALLS)
        return list(await asyncio.gather(*(self._judge(each, room) for each in passages)))

    async def judge_images(self, images: Sequence[ImagePart]) -> list[Verdict]:
        """See `ImageFilter.judge_images`."""
        verdicts = []
        for image in images:
            content = base64.b64encode(image.content).decode()
            question = _ImageQuestion(_ImageContent(content))
            verdicts.append(_read_analysis(await self._ask("image:analyze", question, _Analysis)))
        return verdicts

    async def _judge(self, passage: Passage, room: asyncio.Semaphore) -> Verdict:
        worst = Verdict()
        for part in portions(passage.text, MAX_CHARACTERS):
            async with room:
                worst = worst.joined(
                    _read_analysis(await self._ask("text:analyze", _TextQuestion(part), _Analysis))
                )
                worst = worst.joined(await self._detect(part, passage))
        return worst

    async def _detect(self, part: str, passage: Passage) -> Verdict:
        if self._settings.prompt_shields and passage.source in ("user", "tool"):
            return Verdict(detections={"jailbreak": await self._attacks(part, passage)})
        known = self._settings.protected_material and passage.source == "completion"
        if not known or len(part) < MIN_KNOWN_WORK:
            return Verdict()
        answer = await self._ask("text:detectProtectedMaterial", _WorkQuestion(part), _WorkAnswer)
        found = answer.protected_material_analysis.detected
        detections: dict[Detection, bool] = {"protected_material_text": found}
        return Verdict(detections=detections)

    async def _attacks(self, part: str, passage: Passage) -> bool:
        # What a tool brings in is a document: instructions in it are an indirect attack.
        question = (
            _ShieldQuestion(part) if passage.source == "user" else _ShieldQuestion("", [part])
        )
        answer = await self._ask("text:shieldPrompt", question, _ShieldAnswer)
        found = [*answer.documents_analysis, *filter(None, [answer.user_prompt_analysis])]
        if not found:
            raise FilterFailedError("text:shieldPrompt answered without an analysis")
        return any(analysis.attack_detected for analysis in found)

    async def _ask(self, operation: _OPERATIONS, question: Struct, kind: type[T]) -> T:
        path = f"/contentsafety/{operation}?api-version={self._settings.api_version}"
        status, body = await self._post(path, msgspec.json.encode(question))
        if status != 200:
            raise FilterFailedError(f"{operation} answered with status {status}")
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            raise FilterFailedError(f"{operation} answered with something else") from None


def _read_analysis(analysis: _Analysis) -> Verdict:
    severities: dict[Category, Severity] = {}
    for found in analysis.categories_analysis:
        category = _CATEGORIES.get(found.category)
        if category is not None:
            # Eight levels may come although four were asked for: round down, as the service does.
            severities[category] = _SEVERITIES[min(6, max(0, found.severity) // 2 * 2)]
    if not severities:
        raise FilterFailedError("an analysis came back without a category")
    return Verdict(severities)
