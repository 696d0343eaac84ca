"""The report as one page of HTML."""

from technopay.cli.load.result import Result


def page_html(result: Result) -> str:
    """Answer the page."""
    return result.model_dump_json()
