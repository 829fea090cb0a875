"""What content filters found, as Azure shows it (contract, section 11)."""

from typing import Any

from zaffre.core.safety import Screened, ScreenReport
from zaffre.wire.chat import ChatResponse
from zaffre.wire.completions import CompletionResponse

NOT_FILTERED = {"code": "content_filter_error", "message": "The contents are not filtered"}


def filter_results(screened: Screened) -> dict[str, Any]:
    """The object `content_filter_results`: what was looked for, and what of it was filtered."""
    verdict, filtered = screened.verdict, screened.filtered
    results: dict[str, Any] = {
        category: {"filtered": category in filtered, "severity": severity}
        for category, severity in verdict.severities.items()
    }
    for detection, detected in verdict.detections.items():
        results[detection] = {"filtered": detection in filtered, "detected": detected}
    if verdict.blocklists:
        hits = [name for name, hit in verdict.blocklists.items() if hit]
        details = [{"filtered": f"blocklist:{name}" in filtered, "id": name} for name in hits]
        results["custom_blocklists"] = {"filtered": bool(hits), "details": details}
    if screened.failed:
        results["error"] = NOT_FILTERED
    return results


def prompt_results(report: ScreenReport) -> list[dict[str, Any]]:
    """The list `prompt_filter_results`; empty when nothing was screened."""
    return [
        {"prompt_index": position, "content_filter_results": filter_results(screened)}
        for position, screened in sorted(report.prompts.items())
    ]


def inner_error(screened: Screened | None) -> dict[str, Any]:
    """The object `innererror` of a refused prompt."""
    found = filter_results(screened) if screened is not None else {}
    return {"code": "ResponsibleAIPolicyViolation", "content_filter_result": found}


def annotate(response: ChatResponse | CompletionResponse, report: ScreenReport) -> None:
    """Put what was found into a whole answer, when anything was screened."""
    if report.prompts:
        response.prompt_filter_results = prompt_results(report)
    annotate_choices(response, report)


def annotate_choices(response: ChatResponse | CompletionResponse, report: ScreenReport) -> None:
    """Put what was found in its choices into an answer, or into a chunk of one."""
    for choice in response.choices:
        if choice.index in report.choices:
            choice.content_filter_results = filter_results(report.choices[choice.index])
