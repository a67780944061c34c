"""Reading: formats, encodings, delimiters, and the line of the file each row came from."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.data import delimited
from executor.data.read import open_source, read
from executor.data.source import EmptyFileError
from executor.errors import UserError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def codes(path: Path) -> list[str]:
    return [problem.code for problem in read(path).problems]


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t"), ("a.csv", ";"), ("a.psv", "|")])
def test_delimiters(tmp_path: Path, name: str, delimiter: str) -> None:
    text = "\n".join(delimiter.join(row) for row in [("text", "label"), ("hello there", "greet"), ("bye", "part")])
    table = read(write(tmp_path, name, text))
    assert table.delimiter == delimiter
    assert table.rows == [{"text": "hello there", "label": "greet"}, {"text": "bye", "label": "part"}]
    assert (table.format, table.lines, table.problems) == ("csv", [2, 3], [])


def test_semicolons_win_over_commas_inside_the_text(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "text;label\nyes, I do, really;a\nno, never;b\n"))
    assert table.delimiter == ";"
    assert table.rows[0]["text"] == "yes, I do, really"


def test_quoted_fields_over_several_lines_keep_the_line_they_start_on(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", 'text,label\n"one\ntwo, ""three""",a\n\nfour,b\n'))
    assert table.rows[0]["text"] == 'one\ntwo, "three"'
    assert table.lines == [2, 5]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path: Path, end: str) -> None:
    table = read(write(tmp_path, "a.csv", end.join(["text,label", "hello,x", "bye,y", ""])))
    assert [row["label"] for row in table.rows] == ["x", "y"]
    assert table.lines == [2, 3]
    lines = read(write(tmp_path, "a.jsonl", end.join(['{"text": "a"}', "", '{"text": "b"}'])))
    assert lines.lines == [1, 3]


def test_mixed_line_ends(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "text,label\r\nhello,x\rbye,y\nagain,x"))
    assert [row["text"] for row in table.rows] == ["hello", "bye", "again"]
    assert table.lines == [2, 3, 4]


def test_ragged_rows_are_named_and_kept_as_broken(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "a,b\n1,2\n1,2,3\n1\n1,2,,\n"))
    assert [(p.code, p.severity, p.line) for p in table.problems] == [
        ("ragged_row", "error", 3),
        ("ragged_row", "error", 4),
    ]
    assert sorted(table.broken) == [1, 2]
    assert len(table.rows) == 4


def test_an_unclosed_quote_is_an_error_at_its_row(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", 'text,label\nfine,x\n"never closed,y\nlost,z\n'))
    assert ("unclosed_quote", 3) in [(p.code, p.line) for p in table.problems]
    with pytest.raises(EmptyFileError):
        read(write(tmp_path, "b.csv", '"\n\n'))


def test_headers_that_are_missing_empty_or_doubled(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "where is my card,card\nwhy is it late,card\npin please,pin\n"))
    assert table.columns == ["column_1", "column_2"]
    assert (table.lines, [p.code for p in table.problems]) == ([1, 2, 3], ["no_header"])
    assert codes(write(tmp_path, "b.csv", "7,2.5\n8,3\n")) == ["no_header"]
    doubled = read(write(tmp_path, "c.csv", "text,text,\na,b,c\n"))
    assert doubled.columns == ["text", "text_2", "column_3"]
    assert [p.code for p in doubled.problems] == ["duplicate_header", "empty_header"]


def test_questions_of_a_survey_are_headers(tmp_path: Path) -> None:
    text = "Timestamp,How did you like our service today?\nmonday,it was rather good all in all\n"
    assert read(write(tmp_path, "a.csv", text)).columns[0] == "Timestamp"


def test_a_header_repeated_in_the_data_is_left_out_with_a_warning(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "text,label\na,x\ntext,label\nb,y\n"))
    assert [row["text"] for row in table.rows] == ["a", "b"]
    assert [(p.code, p.line) for p in table.problems] == [("repeated_header", 3)]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_encodings_are_read_without_a_problem(tmp_path: Path, codec: str) -> None:
    table = read(write(tmp_path, "a.csv", "text,label\nCafé – 20 €,é\nplain,b\n".encode(codec)))
    assert table.rows[0] == {"text": "Café – 20 €", "label": "é"}
    assert (table.encoding, table.problems, table.columns[0]) == (codec, [], "text")


def test_windows_1252_is_read_with_a_warning(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "text,label\nLe café – 20 €,é\n".encode("cp1252")))
    assert table.rows[0]["text"] == "Le café – 20 €"
    assert (table.encoding, [p.code for p in table.problems]) == ("cp1252", ["encoding_not_utf8"])
    assert table.problems[0].severity == "warning"


def test_bytes_undefined_in_windows_1252_fall_back_to_latin_1(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", b"text,label\ncaf\xe9 \x81,x\n"))
    assert table.encoding == "latin-1"


def test_a_cyrillic_code_page_is_recognised(tmp_path: Path) -> None:
    text = "текст,метка\nПривет, как у вас дела сегодня?,а\n".replace("Привет, как", "Привет как")
    table = read(write(tmp_path, "a.csv", text.encode("cp1251")))
    assert table.columns == ["текст", "метка"]


def test_a_few_broken_bytes_in_utf_8_are_an_error_with_their_line(tmp_path: Path) -> None:
    good = "text,label\n" + "größe naïve déjà été,x\n" * 5
    table = read(write(tmp_path, "a.csv", good.encode() + b"bad \xff byte,y\n"))
    assert table.encoding == "utf-8"
    assert [(p.code, p.severity, p.line) for p in table.problems] == [("invalid_bytes", "error", 7)]


def test_json_arrays_know_the_line_of_each_row(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.json", '[\n  {"a": 1,\n   "b": 2},\n\n  {"a": 3}\n]\n'))
    assert (table.format, table.rows, table.lines) == ("json", [{"a": 1, "b": 2}, {"a": 3}], [2, 5])
    assert table.columns == ["a", "b"]


def test_rows_nested_under_one_key(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.json", '{"version": 1,\n "data": [\n {"x": 1},\n {"x": 2}]}'))
    assert (table.rows, table.lines) == ([{"x": 1}, {"x": 2}], [3, 4])


def test_an_object_of_arrays_is_columns(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.json", '{"text": ["a", "b"], "label": ["x", "y"]}'))
    assert table.rows == [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    pandas = read(write(tmp_path, "b.json", '{"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}'))
    assert pandas.rows == table.rows


def test_one_chat_object_is_one_row(tmp_path: Path) -> None:
    row = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}
    assert read(write(tmp_path, "a.json", json.dumps(row, indent=2))).rows == [row]


def test_json_lines_keep_bad_lines_as_broken_rows(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.jsonl", '{"a": 1}\n{"a": \n["x"]\n{"a": NaN}\n{"a": "\\ud800"}\n{"a": 2}\n'))
    assert (table.format, len(table.rows), table.lines) == ("jsonl", 6, [1, 2, 3, 4, 5, 6])
    assert [(p.code, p.line) for p in table.problems] == [
        ("bad_json", 2),
        ("not_an_object", 3),
        ("bad_json", 4),
        ("lone_surrogate", 5),
    ]
    assert sorted(table.broken) == [1, 2, 3, 4]


def test_names_do_not_decide_between_json_and_json_lines(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.json", '{"a": 1}\n{"a": 2}\n')).format == "jsonl"
    assert len(read(write(tmp_path, "b.jsonl", '[\n{"a": 1},\n{"a": 2}\n]')).rows) == 2
    assert read(write(tmp_path, "c.csv", '{"a": 1}\n{"a": 2}\n')).format == "jsonl"
    pretty = read(write(tmp_path, "d.jsonl", '{\n"a": 1\n}\n{\n"a": 2\n}\n'))
    assert (pretty.rows, pretty.lines) == ([{"a": 1}, {"a": 2}], [1, 4])


def test_a_cut_json_array_keeps_its_whole_rows(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.json", '[{"a": 1},\n{"a": 2},\n{"a": '))
    assert [row for i, row in enumerate(table.rows) if i not in table.broken] == [{"a": 1}, {"a": 2}]
    assert [(p.code, p.line) for p in table.problems] == [("bad_json", 3)]


def test_deep_nesting_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    deep = write(tmp_path, "a.jsonl", '{"a": 1}\n' + '{"a":' + "[" * 100_000 + "\n")
    assert codes(deep) == ["bad_json"]


def test_running_text(tmp_path: Path) -> None:
    table = read(write(tmp_path, "notes.txt", "First line of text.\n\nSecond, with a comma.\n"))
    assert (table.format, table.lines) == ("text", [1, 3])


@pytest.mark.parametrize("content", ["", " \n\n", "\ufeff", "text,label\n", "[]"])
def test_empty_files(tmp_path: Path, content: str) -> None:
    name = "a.json" if content == "[]" else "a.csv"
    with pytest.raises(EmptyFileError):
        read(write(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.csv", bytes(range(256)) * 4, "binary"),
        ("a.zip", b"PK\x03\x04rest", "Archives"),
        ("renamed.csv", b"PK\x03\x04rest", "Archives"),
        ("a.csv", b"%PDF-1.7", "Documents"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(tmp_path: Path, name: str, content: bytes, word: str) -> None:
    with pytest.raises(UserError, match=word) as raised:
        read(write(tmp_path, name, content))
    assert raised.value.fix
    assert raised.value.where


def test_missing_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "a,b\n1,2\n")
    with pytest.raises(UserError, match="no file") as raised:
        read(tmp_path / "trian.csv")
    assert "train.csv" in raised.value.fix
    with pytest.raises(UserError, match="folder"):
        read(tmp_path)
    with pytest.raises(UserError, match="Cannot read"):
        read(tmp_path / ("x" * 4000))


cell = st.text(st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from('\n",;'), min_size=1, max_size=20)


@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=8))
def test_what_the_csv_writer_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    kept = [row for row in rows if "".join(row).strip()]
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("text", "label"), *kept])

    def opened() -> io.StringIO:
        return io.StringIO(out.getvalue(), newline="")

    layout = delimited.look(opened, ",")
    assert layout is not None
    found = [record for record in delimited.records(opened, layout) if record.row is not None]
    values = [tuple(record.row.values()) for record in found if record.row]
    assert [row for row in values if row != ("text", "label")] == [row for row in kept if row != ("text", "label")]
    text_lines = out.getvalue().replace("\r\n", "\n").split("\n")
    assert all(1 < line <= len(text_lines) for line, _, _ in found)


def test_a_compressed_table_is_read_as_the_table_inside(tmp_path: Path) -> None:
    found = read(write(tmp_path, "a.csv.gz", gzip.compress(b"text,label\nhello,a\nbye,b\n")))
    assert (found.format, found.rows) == ("csv", [{"text": "hello", "label": "a"}, {"text": "bye", "label": "b"}])
    lines = read(write(tmp_path, "b.jsonl.gz", gzip.compress(b'{"text": "x"}\n{"text": "y"}\n')))
    assert (lines.format, lines.lines) == ("jsonl", [1, 2])


def test_a_damaged_compressed_file_is_one_line_for_the_user(tmp_path: Path) -> None:
    whole = gzip.compress(b"text,label\n" + b"".join(b"row %d,%d\n" % (i, i % 3) for i in range(20_000)))
    for data in (whole[: len(whole) // 2], whole[:100] + b"\0\0\0\0" + whole[104:]):
        with pytest.raises(UserError, match="damaged"):
            read(write(tmp_path, "a.csv.gz", data))


def test_one_broken_first_line_does_not_hide_the_rest(tmp_path: Path) -> None:
    found = read(write(tmp_path, "a.jsonl", '{"text": "a", }\n{"text": "b"}\n{"text": "c"}\n'))
    assert found.format == "jsonl"
    assert [row.get("text") for row in found.rows] == [None, "b", "c"]
    assert found.broken.keys() == {0}


def test_large_values_and_many_rows_are_read_over_block_borders(tmp_path: Path) -> None:
    rows = [{"text": "x" * 700_000, "n": i} for i in range(4)] + [{"text": "é", "n": i} for i in range(3000)]
    for opening, closing in (("[", "]"), ('{"version": 1, "rows": [', "]}")):
        path = write(tmp_path, "a.json", opening + ",\r\n".join(json.dumps(row) for row in rows) + closing)
        found = read(path)
        assert found.rows == rows
        assert found.lines == list(range(1, len(rows) + 1))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n{"text": "b"}\n')
    records = open_source(path).records()
    next(records)
    write(tmp_path, "a.jsonl", '{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n')
    with pytest.raises(UserError, match="changed while it was read"):
        list(records)


def test_an_unclosed_quote_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_FIELD_LIMIT", 1000)
    path = write(tmp_path, "a.csv", "text,label\nfine,a\n" + '"open,b\n' + "more,c\n" * 1000)
    problems = read(path).problems
    assert [(problem.code, problem.line) for problem in problems] == [("unclosed_quote", 3)]


def test_rows_on_one_line_are_told_apart_by_their_number(tmp_path: Path) -> None:
    found = read(write(tmp_path, "a.json", '[{"text": "a"}, {"text": "b"}, 7]'))
    assert found.lines == [1, 2, 3]
    assert [(problem.code, problem.line) for problem in found.problems] == [("not_an_object", 3)]
