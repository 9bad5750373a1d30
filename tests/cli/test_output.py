"""JSON, JSON Lines and headers on the output, and colour on a terminal only."""

from __future__ import annotations

import io
import json
import sys

import pytest

from aiomsi._cli.output import format_json, print_body, print_json, print_line, to_line


class Terminal(io.StringIO):
    """An output that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_half_a_surrogate_is_written_as_an_escape() -> None:
    assert format_json({"cut": "\ud83d"}, indent=2) == '{\n  "cut": "\\ud83d"\n}'
    assert format_json({"cut": "\ud83d"}) == '{"cut":"\\ud83d"}'


def test_control_characters_are_escaped() -> None:
    text = "\x1b[31m \x7f \x9b31m"
    bidi = "\u2028 \u202e \u2066 \u200f"

    assert format_json({"a": text}).isprintable()
    assert json.loads(format_json({"a": text})) == {"a": text}
    assert format_json(bidi) == r'"\u2028 \u202e \u2066 \u200f"'
    assert to_line(f"{text}\nb") == "[31m 31m b"


def test_body_that_is_no_json_does_not_control_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    body = "\x1b]0;a\x07 é\r\nb".encode() + b"\xff"
    print_body(body)
    unchanged = capsysbinary.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_body(body)

    assert unchanged == body
    assert terminal.getvalue() == " ]0;a  é \nb\ufffd"


def test_line_of_json_lines_has_no_spaces_and_no_breaks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_line({"a": [1, "x\ny"], "b": {}})

    assert capsys.readouterr().out == '{"a":[1,"x\\ny"],"b":{}}\n'


def test_json_has_colours_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    long = "[bold]" + "x" * 500
    document = {"name": long, "size": 1}
    print_json(document)
    plain = capsys.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_json(document)

    coloured = terminal.getvalue()
    assert json.loads(plain) == document
    assert "\x1b[" not in plain
    assert "\x1b[" in coloured
    assert long in coloured
