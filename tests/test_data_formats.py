"""Workbooks, Parquet, Arrow and YAML become the rows a person sees in them."""

from __future__ import annotations

import datetime
import math
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from executor.data.read import open_source, read
from executor.data.source import EmptyFileError
from executor.errors import UserError

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"


def cell(place: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.date):
        return f'<c r="{place}" s="1"><v>{(value - datetime.date(1899, 12, 30)).days}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'


def sheet_xml(rows: list[list[Any]]) -> str:
    lines = [
        f'<row r="{r}">' + "".join(cell(f"{chr(65 + c)}{r}", value) for c, value in enumerate(row)) + "</row>"
        for r, row in enumerate(rows, 1)
    ]
    return f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    """A minimal xlsx file."""
    numbered = list(enumerate(sheets, 1))
    listed = "".join(f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}" xmlns:r="{LINKS}"/>' for i, name in numbered)
    links = f'<Relationship Id="rId0" Type="{LINKS}/styles" Target="styles.xml"/>'
    for i, _ in numbered:
        links += f'<Relationship Id="rId{i}" Type="{LINKS}/worksheet" Target="worksheets/s{i}.xml"/>'
    office = f'<Relationship Id="r" Type="{LINKS}/officeDocument" Target="xl/workbook.xml"/>'
    formats = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs>'
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("[Content_Types].xml", f'<Types xmlns="{TYPES}"/>')
        book.writestr("_rels/.rels", f'<Relationships xmlns="{PACKAGE}">{office}</Relationships>')
        book.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{PACKAGE}">{links}</Relationships>')
        book.writestr("xl/workbook.xml", f'<workbook xmlns="{MAIN}"><sheets>{listed}</sheets></workbook>')
        book.writestr("xl/styles.xml", f'<styleSheet xmlns="{MAIN}">{formats}</styleSheet>')
        for i, rows in enumerate(sheets.values(), 1):
            book.writestr(f"xl/worksheets/s{i}.xml", sheet_xml(rows))
    return path


def codes(path: Path, sheet: str | None = None) -> list[str]:
    return [problem.code for problem in read(path, sheet).problems]


def test_a_sheet_is_a_table(tmp_path: Path) -> None:
    day = datetime.date(2026, 3, 1)
    rows = [["text", "label", "n", "when"], ["héllo <b>", "a", 3.0, day], [None] * 4, ["bye", None, 2.5, None]]
    found = read(workbook(tmp_path / "a.xlsx", Data=rows))
    assert (found.format, found.encoding, found.sheets) == ("excel", None, ["Data"])
    assert found.columns == ["text", "label", "n", "when"]
    assert found.rows == [
        {"text": "héllo <b>", "label": "a", "n": 3, "when": "2026-03-01"},
        {"text": "bye", "label": None, "n": 2.5, "when": None},
    ]
    assert found.lines == [2, 4]
    assert not found.problems


def test_the_first_sheet_with_rows_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    one, two = [["text", "label"], ["x", "a"]], [["q", "r"], ["y", "b"], ["z", "c"]]
    path = workbook(tmp_path / "a.xlsx", Empty=[], One=one, Two=two)
    assert read(path).rows == [{"text": "x", "label": "a"}]
    assert codes(path) == ["several_sheets"]
    assert read(path, "Two").rows[1] == {"q": "z", "r": "c"}
    assert not codes(path, "Two")
    with pytest.raises(UserError, match="no sheet") as raised:
        read(path, "Tow")
    assert "Two" in raised.value.fix


def test_titles_headerless_sheets_and_blank_columns(tmp_path: Path) -> None:
    titled = [["Tickets of March"], [], ["text", "label", None], ["x", "a", None], ["y", "b", None]]
    found = read(workbook(tmp_path / "a.xlsx", S=titled))
    assert (found.columns, found.lines) == (["text", "label"], [4, 5])
    assert [problem.code for problem in found.problems] == ["title_lines"]
    bare = read(workbook(tmp_path / "b.xlsx", S=[["how do I pay", 17], ["where is it", 4]]))
    assert bare.rows[0] == {"column_1": "how do I pay", "column_2": 17}
    late = read(workbook(tmp_path / "c.xlsx", S=[["text", "label"], *[["x", "a"]] * 3, ["y", "b", "more"]]))
    assert late.columns[-1] == "column_3"


def test_an_empty_workbook_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(EmptyFileError, match="no rows"):
        read(workbook(tmp_path / "a.xlsx", A=[], B=[]))


def write_table(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=2)
    elif path.suffix == ".feather":
        feather.write_feather(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.arrow"])
def test_columnar_files_keep_their_nesting(tmp_path: Path, name: str) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    rows = [{"messages": turns, "score": math.nan, "day": datetime.date(2026, 1, n + 1)} for n in range(3)]
    path = write_table(tmp_path / name, pa.Table.from_pylist(rows))
    found = read(path)
    assert (found.format, found.columns, found.lines) == ("parquet", ["messages", "score", "day"], [1, 2, 3])
    assert found.rows[2] == {"messages": turns, "score": None, "day": "2026-01-03"}
    assert list(open_source(path).records()) == list(open_source(path).records())


def test_bytes_in_a_table_are_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.parquet", pa.table({"text": ["x"], "image": [b"\x00\xff"]}))
    assert read(path).rows == [{"text": "x", "image": "AP8="}]
    assert codes(path) == ["binary_column"]


def test_a_table_without_rows_is_empty(tmp_path: Path) -> None:
    with pytest.raises(EmptyFileError):
        read(write_table(tmp_path / "a.parquet", pa.table({"text": pa.array([], pa.string())})))


def yaml_rows(tmp_path: Path, text: str) -> Any:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    return read(tmp_path / "a.yaml")


def test_yaml_lists_documents_wrappers_and_single_rows(tmp_path: Path) -> None:
    listed = yaml_rows(tmp_path, "# head\n- text: a\n  label: no\n- text: b\n  label: 2024-05-01\n")
    assert listed.rows == [{"text": "a", "label": "no"}, {"text": "b", "label": "2024-05-01"}]
    assert (listed.format, listed.lines) == ("yaml", [2, 4])
    documents = yaml_rows(tmp_path, "text: a\n---\ntext: b\n")
    assert (documents.rows, documents.lines) == ([{"text": "a"}, {"text": "b"}], [1, 3])
    wrapped = yaml_rows(tmp_path, "version: 2\nexamples:\n  - {text: a}\n  - {text: b}\n")
    assert wrapped.rows == [{"text": "a"}, {"text": "b"}]
    one = yaml_rows(tmp_path, "messages:\n  - {role: user, content: hi}\n  - {role: assistant, content: ho}\n")
    assert [turn["role"] for turn in one.rows[0]["messages"]] == ["user", "assistant"]
    bare = yaml_rows(tmp_path, "- {role: user, content: hi}\n- {role: assistant, content: ho}\n")
    assert len(bare.rows[0]["messages"]) == 2
    several = yaml_rows(tmp_path, "-\n  - {role: user, content: hi}\n-\n  - {role: user, content: ho}\n")
    assert [len(row["messages"]) for row in several.rows] == [1, 1]


def test_bad_yaml_names_the_line(tmp_path: Path) -> None:
    found = yaml_rows(tmp_path, "- text: a\n- text: [b\n- text: c\n")
    assert [(problem.code, problem.line) for problem in found.problems] == [("bad_yaml", 3)]


def test_yaml_aliases_cannot_exhaust_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    for text in ("\n".join(lines), "a: &a [*a]"):
        found = yaml_rows(tmp_path, text)
        assert [problem.code for problem in found.problems] == ["bad_yaml"]


HEADS = [b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PAR1", b"ARROW1", b"\x1f\x8b\x08"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.xlsx", "a.xls", "a.ods", "a.parquet", "a.arrow", "a.yaml", "a.csv.gz"]),
    head=st.sampled_from(HEADS),
    body=st.binary(max_size=200) | st.text(alphabet="a:- \n[]{}&*!|>'\"#?,1", max_size=60).map(str.encode),
)
def test_arbitrary_bytes_are_rows_or_one_plain_line(tmp_path: Path, name: str, head: bytes, body: bytes) -> None:
    (tmp_path / name).write_bytes(head + body)
    try:
        found = read(tmp_path / name)
    except UserError:
        return
    assert len(found.rows) == len(found.lines)


@pytest.mark.parametrize("name", ["a.xlsx", "a.parquet"])
def test_half_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    whole = tmp_path / name
    if name.endswith("xlsx"):
        workbook(whole, S=[["text", "label"], *[[f"row {i}", "a"] for i in range(500)]])
    else:
        write_table(whole, pa.table({"text": [f"row {i}" for i in range(500)]}))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UserError, match="not a readable"):
        read(whole)
