"""Logs: one JSON line a record, nothing personal in any field, and a broken field costs only itself."""

import io
import json
import logging
import subprocess
import sys

import pytest

from redoubt.core.log import DROPPED, JsonFormatter, SafeHandler, configure
from redoubt.core.redact import FAILED, Redactor
from tests.core.test_redact import LEAKS, BrokenMac, Hostile, Mac


@pytest.fixture
def out():
    stream = io.StringIO()
    handler = SafeHandler(stream)
    handler.setFormatter(JsonFormatter(Redactor(Mac())))
    logger = logging.getLogger("redoubt.test")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.handlers, logger.propagate = [], True


LOG = logging.getLogger("redoubt.test")


@pytest.mark.parametrize(("text", "leak"), LEAKS)
def test_nothing_personal_passes_in_any_field(out, text, leak):
    try:
        try:
            raise ValueError(text)
        except ValueError as error:
            raise RuntimeError(f"while: {text}") from error
    except RuntimeError:
        LOG.exception(text, extra={"field": text, "nested": {"list": [text]}})
    LOG.info("%s", text)
    LOG.info("it is %(x)s", {"x": text})
    assert leak not in json.dumps(
        [{**line, "exc": [{**e, "at": []} for e in line.get("exc", [])]} for line in out()]
    )


def test_a_line_has_time_level_logger_message_and_the_callers_fields(out):
    LOG.warning("took %d ms", 12, extra={"request_id": "r1", "path": "/orders"})
    (line,) = out()
    assert line["msg"] == "took 12 ms"
    assert line["level"] == "warning"
    assert line["logger"] == "redoubt.test"
    assert line["request_id"] == "r1"
    assert line["ts"].endswith("+00:00")


def test_a_record_is_one_line_whatever_it_holds(out):
    LOG.info('a\nb\r\n{"level":"forged"}\u2028 x')
    assert len(out()) == 1


def test_a_secret_named_field_is_replaced_whole(out):
    LOG.info("x", extra={"password": "correct horse", "api_key": 12345})
    (line,) = out()
    assert line["password"].startswith("<secret:")
    assert line["api_key"].startswith("<secret:")


def test_a_field_that_breaks_is_dropped_and_the_rest_stands(out):
    LOG.info("fine", extra={"bad": Hostile(), "good": 1})
    (line,) = out()
    assert line["msg"] == "fine"
    assert line["good"] == 1
    assert "bad" not in line
    record = logging.makeLogRecord({"msg": "%d", "args": ("ann@shop.example",)})
    assert json.loads(JsonFormatter(Redactor(Mac())).format(record))["msg"] == DROPPED


def test_without_a_working_redactor_no_text_leaves():
    record = logging.makeLogRecord(
        {"msg": "ann@shop.example", "levelname": "INFO", "name": "x", "who": "ann@shop.example"}
    )
    text = JsonFormatter(Redactor(BrokenMac())).format(record)
    assert "ann@" not in text
    assert json.loads(text)["msg"] == FAILED


def test_an_exception_shows_type_place_and_no_locals(out):
    def inner():
        hidden = "4242424242424242"
        raise KeyError(len(hidden))

    try:
        inner()
    except KeyError:
        LOG.exception("failed")
    (line,) = out()
    assert line["exc"][0]["type"] == "builtins.KeyError"
    assert line["exc"][0]["at"][-1].endswith(":inner")
    assert "4242" not in json.dumps(line)


def test_a_huge_line_is_cut(out):
    LOG.info("x" * 60_000, extra={"more": "y " * 30_000})
    (line,) = out()
    assert line["cut"] > 60_000
    assert len(line["msg"]) == 1024


def test_a_broken_stream_does_not_print_the_record_elsewhere(capsys):
    class Broken(io.StringIO):
        def write(self, text):
            raise OSError("disk full")

    handler = SafeHandler(Broken())
    handler.setFormatter(JsonFormatter(Redactor(Mac())))
    handler.handle(logging.makeLogRecord({"msg": "hunter2 %s", "args": ("ann@shop.example",)}))
    shown = capsys.readouterr()
    assert "ann@" not in shown.err + shown.out
    assert "hunter2" not in shown.err + shown.out


CHILD = """
import logging, sys, threading, warnings
side = logging.getLogger("uvicorn.access"); side.addHandler(logging.StreamHandler(sys.stdout)); side.propagate = False
from redoubt.core.log import configure
from redoubt.core.redact import Redactor
from tests.core.test_redact import Mac
configure(Redactor(Mac()))
side.warning("GET /auth/magic/AbCdEfGh1234 from ann@shop.example")
warnings.warn("ann@shop.example")
def work(): raise ValueError("ann@shop.example in a thread")
t = threading.Thread(target=work); t.start(); t.join()
raise RuntimeError("sk_live_51Habcdef and ann@shop.example")
"""


def test_a_whole_process_lets_nothing_past_the_redactor():
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", CHILD], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == 4
    assert "ann@" not in done.stderr
    assert "51Habc" not in done.stderr
    assert "AbCdEfGh" not in done.stderr


def test_configure_replaces_other_handlers(monkeypatch):
    root = logging.getLogger()
    before, level, hook = root.handlers[:], root.level, sys.excepthook
    try:
        stream = io.StringIO()
        root.addHandler(logging.StreamHandler(io.StringIO()))
        configure(Redactor(Mac()), stream, "DEBUG")
        assert len(root.handlers) == 1
        logging.getLogger("any").debug("to ann@shop.example")
        assert "ann@" not in stream.getvalue()
        assert json.loads(stream.getvalue())["level"] == "debug"
    finally:
        root.handlers[:], sys.excepthook = before, hook
        root.setLevel(level)
        logging.captureWarnings(False)
