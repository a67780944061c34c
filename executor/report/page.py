"""A report as one HTML file: no script, no request, light and dark, readable on a phone and on paper."""

from __future__ import annotations

from dataclasses import replace

from executor.report.document import Block, Bullets, Commands, Figure, Origin, Paragraph, Report, Section, Table
from executor.report.escape import to_html
from executor.report.look import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(report: Report) -> str:
    answer = report.answer
    body = "".join(_section(section) for section in report.sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{to_html(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{to_html(answer.word)} · {to_html(report.name)}</title>\n<style>{CSS}</style>\n</head>\n"
        f'<body>\n<main>\n<header class="{answer.tone}">\n'
        f'<p class="run">Report of the run <bdi>{to_html(report.name)}</bdi></p>\n<h1>{to_html(answer.word)}</h1>\n'
        f'<p class="lead">{_tied(answer.sentence)}</p>{_origin(answer.origin)}</header>\n'
        f"{body}</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f"<section>\n<h2>{to_html(section.title)}</h2>\n{blocks}\n</section>\n"


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f'<p dir="auto">{_tied(block.text)}</p>{_origin(block.origin)}'
    if isinstance(block, Bullets):
        lead = f'<p class="over">{to_html(block.lead)}</p>' if block.lead else ""
        return f"{lead}<ul>" + "".join(f'<li dir="auto">{_tied(item)}</li>' for item in block.items) + "</ul>"
    if isinstance(block, Commands):
        lines = (f"<dt>{to_html(does)}</dt><dd><code>{to_html(line)}</code></dd>" for does, line in block.lines)
        return f"<dl>{''.join(lines)}</dl>"
    if isinstance(block, Figure):
        size = ' class="small"' if block.small else ""
        below = _table(replace(block.table, title="", origin=None)) if block.both else ""
        caption = f"<figcaption>{to_html(block.table.title)}{_origin(block.table.origin, 'span')}</figcaption>"
        return f"<figure{size}>{caption}{block.svg}</figure>{below}"
    return _table(block)


def _table(table: Table) -> str:
    caption = f"<caption>{to_html(table.title)}</caption>" if table.title else ""
    names = enumerate(table.head)
    head = "".join(f'<th scope="col"{_flush(table, index)}>{to_html(name)}</th>' for index, name in names)
    rows = "".join(f"<tr>{_cells(table, row)}</tr>" for row in table.rows)
    wide = ' class="wide"' if len(table.head) > 3 else ""
    return f"<table{wide}>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{_origin(table.origin)}"


def _cells(table: Table, row: tuple[str, ...]) -> str:
    return "".join(
        f'<td data-label="{to_html(table.head[index])}"{_flush(table, index)}><bdi>{_breakable(cell)}</bdi></td>'
        for index, cell in enumerate(row)
    )


def _breakable(text: str) -> str:
    """A long label may break after an underscore."""
    return to_html(text).replace("_", "_<wbr>")


def _tied(text: str) -> str:
    """A percent sign stays on the line of its number."""
    return to_html(text).replace(" %", "&nbsp;%")


def _flush(table: Table, index: int) -> str:
    return ' class="number"' if index in table.numeric else ""


def _origin(origin: Origin | None, tag: str = "p") -> str:
    if origin is None:
        return ""
    return f'<{tag} class="origin"><b>{origin.kind}</b> {to_html(origin.where)}</{tag}>'
