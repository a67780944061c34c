"""Small inline SVG drawings. Positions are percentages, so text keeps its size on a phone and on paper.

Colours come from CSS classes of the page. Every text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from executor.report.escape import to_html

ROW = 46
MOST_POINTS = 400
LABEL = 26
"""characters of a label in a matrix"""
PLOT = 92.0
"""percent of the width that curves take; the rest is for the numbers beside them"""


@dataclass(frozen=True)
class Bar:
    """A share 0..1 with its interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    text: str
    accent: bool = False


@dataclass(frozen=True)
class Difference:
    """A difference with its interval, drawn around zero."""

    label: str
    value: float
    low: float
    high: float
    text: str
    tone: str = "plain"


Point = tuple[float, float]


def bars(rows: Sequence[Bar], says: str) -> str:
    """Horizontal bars from 0 to 100 % with interval whiskers."""
    height = ROW * len(rows)
    parts = [_line(at, 0, at, height, "grid") + _text(at, height + 16, f"{at} %", _anchor(at)) for at in (0, 50, 100)]
    for index, row in enumerate(rows):
        top = index * ROW
        parts.append(_text(0, top + 16, row.label, "start", "label accent" if row.accent else "label"))
        parts.append(_text(100, top + 16, row.text, "end", "value"))
        parts.append(f'<rect class="track" x="0" y="{top + 23}" width="100%" height="12" rx="2"/>')
        kind = "bar accent" if row.accent else "bar"
        width = _percent(row.value)
        parts.append(f'<rect class="{kind}" x="0" y="{top + 23}" width="{width:.2f}%" height="12" rx="2"/>')
        if row.low is not None and row.high is not None:
            parts.append(_whisker(_percent(row.low), _percent(row.high), top + 29))
    return _svg(parts, height + 22, says)


def differences(rows: Sequence[Difference], says: str) -> str:
    """Intervals of differences around a zero line, in percentage points."""
    low = min(0.0, *(row.low for row in rows), *(row.value for row in rows))
    high = max(0.0, *(row.high for row in rows), *(row.value for row in rows))
    room = (high - low or 1.0) * 0.08
    low, high = low - room, high + room

    def at(value: float) -> float:
        return 100 * (value - low) / (high - low)

    height = ROW * len(rows)
    parts = [_line(at(0), 0, at(0), height, "zero"), _text(at(0), height + 16, "no difference", _anchor(at(0)))]
    for index, row in enumerate(rows):
        middle = index * ROW + 30
        parts.append(_text(0, middle - 14, row.label, "start", "label"))
        parts.append(_text(100, middle - 14, row.text, "end", "value"))
        parts.append(_line(at(row.low), middle, at(row.high), middle, f"interval {row.tone}"))
        parts.append(f'<circle class="dot {row.tone}" cx="{at(row.value):.2f}%" cy="{middle}" r="5"/>')
    return _svg(parts, height + 22, says)


def matrix(rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]], says: str) -> str:
    """A table of counts, darker where a row's share is larger; columns carry the numbers of the rows."""
    left, height = 38.0, 30
    width = (100 - left) / len(columns)
    numbered = [str(rows.index(name) + 1) if name in rows else "other" for name in columns]
    parts = [_text(left + (at + 0.5) * width, 14, text, "middle") for at, text in enumerate(numbered)]
    for place, name in enumerate(rows):
        top, total = 22 + place * height, max(1, sum(counts[place]))
        parts.append(_text(0, top + 19, f"{place + 1}  {name[:LABEL]}", "start", "label"))
        for at, count in enumerate(counts[place]):
            kind = "cell right" if columns[at] == name else "cell"
            where = f'x="{left + at * width + 0.2:.2f}%" y="{top + 1}" width="{width - 0.4:.2f}%" height="{height - 2}"'
            parts.append(f'<rect class="track" {where} rx="2"/>')
            if count:
                parts.append(f'<rect class="{kind}" {where} rx="2" fill-opacity="{0.15 + 0.85 * count / total:.2f}"/>')
                parts.append(_text(left + (at + 0.5) * width, top + 19, str(count), "middle", "value"))
    return _svg(parts, 26 + height * len(rows), says)


def curve(raw: Sequence[Point], smooth: Sequence[Point], checks: Sequence[Point], says: str) -> str:
    """Training loss (raw faint, smoothed strong) and evaluation points over steps, from zero upwards."""
    everything = [*raw, *checks]
    first, last = min(x for x, _ in everything), max(x for x, _ in everything)
    top = max(1e-6, *(y for _, y in everything)) * 1.05
    height = 240
    parts = []
    for tick in _ticks(top):
        y = height * (1 - tick / top)
        parts.append(_line(0, y, PLOT, y, "grid") + _text(100, y + 4, f"{tick:g}", "end"))

    def path(points: Sequence[Point], kind: str) -> str:
        placed = (f"{_place(x, first, last):.2f},{height * (1 - y / top):.2f}" for x, y in thin(points))
        return f'<polyline class="{kind}" points="{" ".join(placed)}"/>'

    lines = path(raw, "raw") + path(smooth, "smooth")
    frame = f'width="100%" height="{height}" viewBox="0 0 100 {height}" preserveAspectRatio="none"'
    parts.append(f"<svg {frame}>{lines}</svg>")
    for x, y in checks:
        spot = f'cx="{_place(x, first, last):.2f}%" cy="{height * (1 - y / top):.2f}"'
        parts.append(f'<circle class="check" {spot} r="4.5"/>')
    parts += _legend(bool(smooth), bool(checks))
    parts.append(_text(0, height + 18, f"step {first:g}", "start") + _text(PLOT, height + 18, f"step {last:g}", "end"))
    return _svg(parts, height + 24, says)


def _legend(trained: bool, checked: bool) -> list[str]:
    train = [("training, smoothed", "key train"), ("each logged step", "tick")] if trained else []
    lines = train + ([("evaluation", "key evaluation")] if checked else [])
    return [_text(PLOT - 1, 18 + 18 * index, text, "end", kind) for index, (text, kind) in enumerate(lines)]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """The mean of a window of a twentieth of all points (at least 3), centred on each."""
    half = max(1, len(points) // 40)
    means = []
    for index, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, index - half) : index + half + 1]]
        means.append((x, sum(near) / len(near)))
    return means


def thin(points: Sequence[Point]) -> list[Point]:
    """At most about MOST_POINTS of the points, the last one always."""
    step = -(-len(points) // MOST_POINTS)
    return [*points[:-1:step], points[-1]] if step > 1 else list(points)


def _ticks(top: float) -> list[float]:
    """Zero and two to four round values up to `top`."""
    scale = 10.0 ** math.floor(math.log10(top / 4))
    step = next(factor * scale for factor in (1, 2, 2.5, 5, 10) if factor * scale >= top / 4)
    return [step * index for index in range(int(top / step) + 1)]


def _place(x: float, first: float, last: float) -> float:
    return PLOT * (x - first) / (last - first) if last > first else PLOT / 2


def _percent(value: float) -> float:
    return 100 * min(1.0, max(0.0, value))


def _anchor(at: float) -> str:
    return "start" if at < 12 else "end" if at > 88 else "middle"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.2f}%" y1="{y1:.2f}" x2="{x2:.2f}%" y2="{y2:.2f}"/>'


def _whisker(low: float, high: float, y: float) -> str:
    ends = "".join(_line(at, y - 5, at, y + 5, "whisker") for at in (low, high))
    return _line(low, y, high, y, "whisker") + ends


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.2f}%" y="{y:.2f}" text-anchor="{anchor}">{to_html(text)}</text>'


def _svg(parts: Sequence[str], height: float, says: str) -> str:
    label = to_html(says)
    body = "".join(parts)
    return f'<svg class="drawing" width="100%" height="{height:.0f}" role="img" aria-label="{label}">{body}</svg>'
