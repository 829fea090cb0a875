"""What content filters found, as Azure shows it (contract, section 11)."""

from typing import Any

from zaffre.core.safety import Screened, ScreenReport

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
