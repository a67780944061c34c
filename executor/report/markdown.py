"""A report as Markdown: every figure is a table."""

from __future__ import annotations

from collections.abc import Iterable

from executor.report.document import Block, Bullets, Commands, Figure, Origin, Paragraph, Report, Section, Table
from executor.report.escape import to_markdown
from executor.text import printable


def render(report: Report) -> str:
    answer = report.answer
    parts = [f"# {to_markdown(answer.word)}", f"**{to_markdown(answer.sentence)}**"]
    parts += _origin(answer.origin)
    parts += [f"Run: {to_markdown(report.name)}", *sections(report.sections)]
    return "\n\n".join(parts) + "\n"


def sections(told: Iterable[Section]) -> list[str]:
    """Sections as paragraphs of Markdown."""
    parts = []
    for section in told:
        parts.append(f"## {to_markdown(section.title)}")
        for block in section.blocks:
            parts += _block(block)
    return parts


def _block(block: Block) -> list[str]:
    if isinstance(block, Paragraph):
        return [to_markdown(block.text), *_origin(block.origin)]
    if isinstance(block, Bullets):
        lead = [to_markdown(block.lead)] if block.lead else []
        return [*lead, "\n".join(f"- {to_markdown(item)}" for item in block.items)]
    if isinstance(block, Commands):
        return [_commands(block)]
    return _table(block.table if isinstance(block, Figure) else block)


def _commands(block: Commands) -> str:
    # indented code: no fence that a path with backticks could close
    lines = [line for does, command in block.lines for line in (f"# {does}", command)]
    return "\n".join("    " + printable(line).replace("\n", " ") for line in lines)


def _table(table: Table) -> list[str]:
    rule = ["---:" if index in table.numeric else "---" for index in range(len(table.head))]
    lines = [table.head, tuple(rule), *table.rows]
    cells = [[each if line is lines[1] else to_markdown(each) for each in line] for line in lines]
    title = [f"**{to_markdown(table.title)}**"] if table.title else []
    return [*title, "\n".join(f"| {' | '.join(line)} |" for line in cells), *_origin(table.origin)]


def _origin(origin: Origin | None) -> list[str]:
    return [f"*{origin.kind}: {to_markdown(origin.where)}*"] if origin else []
