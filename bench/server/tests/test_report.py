import importlib.util
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def load(name):
    """A module of this benchmark; bench-index has some of the same names."""
    spec = importlib.util.spec_from_file_location(f"bench_server_{name}", HERE.parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def of_this_folder(monkeypatch):
    monkeypatch.syspath_prepend(HERE.parent)
    for name in ("engines", "report", "chart", "widths", "peers"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def record(seconds):
    memory = {"anon": 300 * 2**20, "file": 100 * 2**20, "peak": 500 * 2**20}
    return {
        "ingest": {"wall": seconds, "requests": 10, "p50": 0.02, "p99": 0.05},
        "index": 2 * seconds,
        "searched": memory,
        "version": "1.2",
    }


def rows(engine, qps):
    return [
        {"engine": engine, "target": target, "recall": target + 0.001, "width": 64, "clients": clients,
         "round": round, "qps": qps * clients + round, "p50_ms": 1.0, "p99_ms": 2.5}
        for target in (0.95, 0.99) for clients in (1, 4) for round in (0, 1, 2)
    ]  # fmt: skip


def found():
    lancedb = [row for row in rows("lancedb", 50) if row["target"] == 0.95]
    return {
        "run": {"seed": 7, "machine": {"load": 0.1, "cpu": "some", "cores": 2, "memory_gib": 24, "kernel": "6"}},
        "dataset": {"name": "toy", "what": "Toys", "rows": 10_000, "dim": 8, "batch": 1000, "k": 10},
        "engines": {"lancedb": record(4.0), "brainy": record(1.0)},
        "rows": rows("brainy", 1000) + lancedb,
    }


def test_tables_have_medians_and_say_what_was_not_reached():
    text = load("report").section(found())
    assert "| brainy | 10,000 | 20.0 / 50.0 | 3,330 | 300 | 400 | 500 |" in text
    assert "| brainy | 0.9910 at 64 | 1,000 (1.00 / 2.50) | 4,000 (1.00 / 2.50) |" in text
    assert "| lancedb | n/a | n/a | n/a |" in text
    assert text.index("| brainy |") < text.index("| lancedb |")


def test_a_chart_has_a_line_for_every_engine_that_reached_the_recall():
    chart = load("chart")
    tree = xml.fromstring(chart.svg(found()))
    lines = tree.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 1
    assert len(xml.fromstring(chart.svg(found(), 0.95)).findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert chart.svg({**found(), "rows": []}) is None


def test_the_narrowest_width_is_found():
    widths = load("widths")
    targets, known, tried = (0.95, 0.99), {}, 0
    while (width := widths.following(10, known, targets)) is not None:
        known[width] = 1 - 4 / (width + 10)
        tried += 1
    assert tried < 30
    for target, width in ((0.95, 70), (0.99, 390)):
        reached = widths.narrowest(known, target)
        assert known[reached] >= target
        assert width <= reached <= width * widths.NEAR + 2
    assert widths.narrowest({10: 0.9, 20: 0.99, 30: 0.94}, 0.95) is None


def test_percentiles_are_those_of_the_worker():
    summary = load("peers").summary
    assert summary(2.0, [float(n) for n in range(200, 0, -1)]) == {
        "wall": 2.0, "requests": 200, "p50": 100.0, "p99": 198.0,
    }  # fmt: skip
    assert summary(1.0, []) == {"wall": 1.0, "requests": 0, "p50": 0.0, "p99": 0.0}
