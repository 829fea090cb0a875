"""Content safety without a dialect: what filters say, what policies ask, what clients are told."""

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol, runtime_checkable

from msgspec import Meta, Struct

from zaffre.core.calls import ImagePart

Severity = Literal["safe", "low", "medium", "high"]
Category = Literal["hate", "self_harm", "sexual", "violence"]
Detection = Literal["jailbreak", "profanity", "protected_material_text", "protected_material_code"]
Source = Literal["system", "user", "assistant", "tool", "completion"]
"""Who wrote a text: an earlier message's role, or the model just now."""

SEVERITIES: tuple[Severity, ...] = ("safe", "low", "medium", "high")
CATEGORIES: tuple[Category, ...] = ("hate", "self_harm", "sexual", "violence")
DETECTIONS: tuple[Detection, ...] = (
    "jailbreak",
    "profanity",
    "protected_material_text",
    "protected_material_code",
)


def worse(one: Severity, other: Severity) -> Severity:
    """The graver of the two."""
    return max(one, other, key=SEVERITIES.index)


class Passage(Struct, frozen=True):
    """A text to judge, and who wrote it."""

    text: str
    source: Source
    owner: str = ""
    """For whom a verdict on it may be remembered, so that nobody else can tell by the time of an
    answer that it was judged before. Empty: it is judged each time."""


class Verdict(Struct, frozen=True):
    """What filters found in one text or image. What is absent was not looked for."""

    severities: dict[Category, Severity] = {}
    detections: dict[Detection, bool] = {}
    blocklists: dict[str, bool] = {}
    """Name of each blocklist that was consulted -> whether it hit."""

    def joined(self, other: "Verdict") -> "Verdict":
        """The worst of both."""
        severities, detections = dict(self.severities), dict(self.detections)
        blocklists = dict(self.blocklists)
        for category, severity in other.severities.items():
            severities[category] = worse(severities.get(category, "safe"), severity)
        for detection, found in other.detections.items():
            detections[detection] = detections.get(detection, False) or found
        for name, found in other.blocklists.items():
            blocklists[name] = blocklists.get(name, False) or found
        return Verdict(severities, detections, blocklists)


class FilterFailedError(Exception):
    """A filter could not judge. Its message is for operators and never holds judged text."""


class Filter(Protocol):
    """Judges texts. Must not block the event loop."""

    @property
    def name(self) -> str:
        """What logs call it."""

    @property
    def reach(self) -> int:
        """Characters at the end of an unfinished text about which no judgement is final.

        A match shorter than this that ends later may begin there. Counted after
        `zaffre.safety.folding.fold`.
        """

    async def judge(self, passages: Sequence[Passage]) -> list[Verdict]:
        """One verdict per passage, in order.

        Raises `FilterFailedError` or a `zaffre.core.errors.ZaffreError` when it cannot judge.
        """


@runtime_checkable
class InstantFilter(Protocol):
    """A filter that can mostly tell at once."""

    def judge_now(self, passages: Sequence[Passage]) -> list[Verdict] | None:
        """What `Filter.judge` would say, where that takes some microseconds; None: ask `judge`."""


@runtime_checkable
class ImageFilter(Protocol):
    """A filter that judges images, too."""

    async def judge_images(self, images: Sequence[ImagePart]) -> list[Verdict]:
        """One verdict per image, in order; raises as `Filter.judge` does."""


Threshold = Literal["low", "medium", "high", "off"]
"""From which severity on a text is filtered."""


class Thresholds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The threshold of each category."""

    hate: Threshold = "medium"
    self_harm: Threshold = "medium"
    sexual: Threshold = "medium"
    violence: Threshold = "medium"

    def filters(self, category: Category, severity: Severity) -> bool:
        """Whether `severity` is at or above the category's threshold."""
        threshold: Threshold = getattr(self, category)
        return threshold != "off" and SEVERITIES.index(severity) >= SEVERITIES.index(threshold)


FilterName = Literal["blocklist", "classifier", "remote", "judge"]


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of prompts and completions, and what happens to those that fail."""

    filters: tuple[FilterName, ...] = ("blocklist", "classifier")
    """Who judges; the worst verdict counts."""
    prompts: Thresholds = Thresholds()
    completions: Thresholds = Thresholds()
    jailbreak: bool = True
    """Whether attempts to talk the model out of its rules are filtered."""
    protected_material: bool = True
    """Whether completions that repeat known works or code are filtered (filter `remote` only)."""
    blocklists: tuple[str, ...] = ()
    """Names of the blocklists that count here."""
    mode: Literal["hold", "asynchronous"] = "hold"
    """`hold`: nothing is sent before it is judged. `asynchronous`: all is sent at once, and what
    would have been filtered is only annotated."""
    on_failure: Literal["closed", "serve_annotated"] = "serve_annotated"
    """What happens when a filter cannot judge: refuse, or serve and say that nothing was filtered,
    as Azure does."""
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0
    """For each judgement, waiting for its turn included."""


class Blocklist(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words and patterns that must not occur. Both are held against folded text: lower case, NFKC,
    without invisible characters, white space as single spaces.
    """

    words: tuple[str, ...] = ()
    """Words and phrases, found whole only."""
    patterns: tuple[str, ...] = ()
    """Regular expressions in RE2's syntax, found anywhere."""
    profanity: bool = False
    """Whether a hit is reported as profanity, too."""


class RemoteFilterSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that speaks Azure AI Content Safety's REST interface."""

    url: str
    """Its base URL, before `/contentsafety`."""
    key_env: str | None = None
    """Environment variable of the server that holds its key."""
    key_file: str | None = None
    """File that holds its key, read at start."""
    api_version: str = "2024-09-01"
    prompt_shields: bool = True
    """Whether it is asked for jailbreaks."""
    protected_material: bool = False
    """Whether it is asked for known works in completions (English, from 110 characters on)."""


class ContentSafety(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `content_safety` of the configuration file."""

    policies: dict[str, Policy] = {}
    """By name. `default` may be declared anew; `off` may not."""
    blocklists: dict[str, Blocklist] = {}
    embedding: str = "all-minilm-l6-v2"
    """Deployment of all-MiniLM-L6-v2 that the classifier asks for vectors."""
    remote: RemoteFilterSettings | None = None
    judge: str | None = None
    """Deployment of the chat model that judges."""


OFF = "off"
DEFAULT = "default"
"""Names of the policies that are always there."""


class Screened(Struct, frozen=True):
    """What was found in a prompt or choice, and what of it counts against it."""

    verdict: Verdict = Verdict()
    filtered: frozenset[str] = frozenset()
    """The categories, detections and blocklists (as `blocklist:NAME`) that break the policy."""
    failed: bool = False
    """Whether something could not be judged and was served nevertheless."""

    def joined(self, other: "Screened") -> "Screened":
        """The worst of both."""
        return Screened(
            self.verdict.joined(other.verdict),
            self.filtered | other.filtered,
            self.failed or other.failed,
        )


class ScreenReport:
    """What the screen found in one call, for dialects that annotate. Filled while the call runs:
    `prompts` before the first delta, a choice's entry before its `Finish`.
    """

    def __init__(self) -> None:
        self.prompts: dict[int, Screened] = {}
        """By the prompt's position in the request."""
        self.choices: dict[int, Screened] = {}
        """By the choice's index."""

    @property
    def ran(self) -> bool:
        """Whether a policy was applied at all."""
        return bool(self.prompts or self.choices)
