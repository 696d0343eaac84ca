"""HTML in which text from elsewhere is always escaped: only what was made here is taken as it is."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str) -> Html:
    """Make an element. `class_` is the attribute `class`, and `aria_label` is `aria-label`."""
    opening = [name]
    for key, value in attributes.items():
        opening.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(value)}"')
    return Html(f"<{' '.join(opening)}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Html:
    """Put one after the other."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def number(text: str) -> Html:
    """Make a cell with a figure."""
    return element("td", text, class_="number")


def cell(*children: str) -> Html:
    """Make a cell with words."""
    return element("td", *children)


def table(label: str, columns: Sequence[str], rows: Iterable[Sequence[Html]]) -> Html:
    """Make a table, which scrolls where it is too wide. A column whose name begins with # holds figures."""
    head = [
        element("th", name[1:], scope="col", class_="number")
        if name.startswith("#")
        else element("th", name, scope="col")
        for name in columns
    ]
    body = [element("tr", *row) for row in rows]
    made = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", made, class_="scroll", tabindex="0", role="region", aria_label=label)


def share_bar(share: float) -> Html:
    """Make a bar as long as the share, 0 to 1. Not by a style: the policy of the page refuses those."""
    drawn = element("rect", width=f"{100 * share:.2f}", height="1")
    return element(
        "svg", drawn, class_="bar", viewBox="0 0 100 1", preserveAspectRatio="none", aria_hidden="true"
    )
