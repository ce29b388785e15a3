import copy
import json
import xml.etree.ElementTree as xml
from itertools import pairwise

import plot
import pytest
import tables
from document import inserted
from engines import ENGINES, chosen, computed_bytes
from results import merge, record

DATASET = {
    "what": "Rows",
    "rows": 1000,
    "dim": 16,
    "measure": "euclid",
    "queries": 100,
    "fingerprint": "a",
}
MACHINE = {"cpu": "A CPU", "cores": 2, "memory_gib": 8, "kernel": "6.1", "huge_pages": "madvise", "load": 0.25}


def run(started="2026-01-01T00:00:00Z"):
    return {"started": started, "seed": 1, "rounds": 3, "machine": MACHINE}


def measured(speed, build=10.0, bytes_per_row=100):
    """Builds, memory and points of an engine that is so many times as fast as the reference."""
    builds = {"1": [{"wall": build, "cpu": build}], "2": [{"wall": build / 2, "cpu": build}]}
    anon = {"anon": 5000, "file": 0}
    after = {"anon": 5000 + 1000 * bytes_per_row, "file": 64_000}
    memory = {"before": anon, "after_build": after, "after_search": after, "exact_bytes": None}
    points = [
        {"ef": ef, "recall": recall, "qps": [speed * qps * noise for noise in (1.0, 0.9, 1.1)]}
        for ef, recall, qps in ((10, 0.88, 9000), (40, 0.96, 4000), (90, 0.985, 2000), (200, 0.999, 800))
    ]
    return builds, memory, points


def records(speeds, **of_run):
    reference = measured(1)
    return {
        name: record(name, DATASET, run(**of_run), "1.0", *measured(*how), reference) for name, how in speeds.items()
    }


ALL = {
    "hnswlib": (1,),
    "native-f32": (1.3, 8.0, 90),
    "native-int8": (3.1, 6.0, 40),
    "native-int4": (3.5, 7.0, 30),
    "hnsw_rs": (0.3, 35.0, 250),
}


def test_a_data_set_carries_its_ratios_to_hnswlib():
    found = merge({}, "d", DATASET, records(ALL))["datasets"]["d"]
    assert found["qps_ratio_vs_hnswlib_at_099_f32"] == pytest.approx(1.3)
    assert found["qps_ratio_vs_hnswlib_at_099_codes"] == pytest.approx(3.5)
    assert found["codes_engine"] == "native-int4"
    assert found["build_ratio_vs_hnswlib"] == pytest.approx(0.8)
    assert found["build_ratio_vs_hnswlib_codes"] == pytest.approx(0.7)
    assert found["memory_ratio_vs_hnswlib"] == pytest.approx(0.9)
    assert found["memory_ratio_vs_hnswlib_codes"] == pytest.approx(0.3)


def test_ratios_of_what_was_not_measured_are_null():
    found = merge({}, "d", DATASET, records({"hnswlib": (1,)}))["datasets"]["d"]
    assert found["qps_ratio_vs_hnswlib_at_099_codes"] is None
    assert found["build_ratio_vs_hnswlib"] is None and found["codes_engine"] is None


def test_every_point_is_a_row():
    found = merge({}, "d", DATASET, records(ALL))
    assert len(found["rows"]) == 4 * len(ALL)
    row = next(row for row in found["rows"] if row["engine"] == "native-f32" and row["ef"] == 90)
    assert row["qps_median"] == pytest.approx(2600) and row["qps_min"] == pytest.approx(2340)
    assert row["bytes_per_vector"] == 90 and row["build_cpu_seconds"] == 8
    assert row["build_wall_seconds_2_threads"] == 4 and row["machine"] == MACHINE
    json.dumps(found, allow_nan=False)


def test_runs_merge_by_data_set_and_engine():
    first = merge({}, "d", DATASET, records({"hnswlib": (1,), "native-f32": (1.1,)}))
    before = copy.deepcopy(first)
    later = records({"hnswlib": (1,), "native-int8": (3,)}, started="2026-01-02T00:00:00Z")
    second = merge(first, "d", DATASET, later)
    assert first == before
    engines = second["datasets"]["d"]["engines"]
    assert list(engines) == ["native-f32", "native-int8", "hnswlib"]
    assert engines["native-f32"]["run"]["started"] < engines["hnswlib"]["run"]["started"]
    assert second["datasets"]["d"]["qps_ratio_vs_hnswlib_at_099_f32"] == pytest.approx(1.1)
    third = merge(second, "e", DATASET, later)
    assert set(third["datasets"]) == {"d", "e"}
    assert "Measured in 2 runs" in tables.section(third["datasets"])


def test_other_rows_replace_what_was_measured_before():
    first = merge({}, "d", DATASET, records(ALL))
    second = merge(first, "d", {**DATASET, "fingerprint": "b"}, records({"hnswlib": (1,)}))
    assert list(second["datasets"]["d"]["engines"]) == ["hnswlib"]


def test_a_table_shows_medians_with_their_spread():
    found = merge({}, "synthetic-1m", DATASET, records({k: v for k, v in ALL.items() if k != "hnsw_rs"}))
    text = tables.section(found["datasets"])
    row = next(line for line in text.splitlines() if line.startswith("| `native-f32`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == len(text.splitlines()[6].strip("|").split("|"))
    assert cells[4:] == ["1.30 (1.30 to 1.30)", "8.00", "4.00", "90.0", "n/a"]
    assert all(" to " in cell for cell in cells[1:4])
    assert "`hnsw_rs` and `usearch` left out" in text
    assert "load 0.2" in text and "bench/index-synthetic-1m.svg" in text


def test_what_is_not_reached_is_not_made_up():
    slow = measured(0.5)
    for point in slow[2]:
        point["recall"] -= 0.05
    found = record("usearch", DATASET, run(), "1.0", *slow, measured(1))
    assert found["qps_at"]["0.99"] is None and found["qps_ratio_at"]["0.99"] is None
    row = tables.table({"usearch": found}).splitlines()[-1]
    assert row.count("n/a") == 4  # queries/s at 0.95 and 0.99, ratio, computed memory


def test_a_build_that_failed_is_named():
    builds, memory, points = measured(1)
    builds["2"] = [{"failed": "no answer to build within 600 s"}]
    found = merge(
        {}, "d", DATASET, {"hnsw_rs": record("hnsw_rs", DATASET, run(), "1", builds, memory, points, measured(1))}
    )
    text = tables.section(found["datasets"])
    assert "hnsw_rs on 2 threads: no answer to build within 600 s." in text
    assert found["rows"][0]["build_wall_seconds_2_threads"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (12345.6, "12,300"),
        (999_600.0, "1,000,000"),
        (1234, "1,230"),
        (456.7, "457"),
        (45.67, "45.7"),
        (0.456, "0.46"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert tables.number(value) == text


def test_a_section_replaces_what_is_between_the_markers():
    begin, end = "<!-- x:begin -->", "<!-- x:end -->"
    document = f"# Title\n\n{begin}\nold\n{end}\n\n## Next\n"
    once = inserted(document, "new", "x")
    assert once == f"# Title\n\n{begin}\n\nnew\n\n{end}\n\n## Next\n"
    assert inserted(once, "new", "x") == once
    for wrong in ("# Title\n", f"{end}{begin}", document + document):
        with pytest.raises(ValueError, match="once"):
            inserted(wrong, "new", "x")


def test_a_plot_shows_every_engine_within_its_frame():
    engines = records(ALL)
    text = plot.svg("recall & speed", engines)
    root = xml.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}polyline")) == len(engines)
    shown = {node.text for node in root.findall(f"{space}text")}
    assert set(engines) <= shown and "recall & speed" in shown
    for circle in root.findall(f"{space}circle"):
        assert plot.LEFT <= float(circle.get("cx")) <= plot.WIDTH - plot.RIGHT
        assert plot.TOP <= float(circle.get("cy")) <= plot.HEIGHT - plot.BOTTOM
    heights = sorted(float(node.get("y")) for node in root.findall(f"{space}text") if node.text in engines)
    assert all(b - a >= 15.9 for a, b in pairwise(heights))
    assert text == plot.svg("recall & speed", engines)


def test_nothing_to_show_is_no_plot():
    builds, memory, points = measured(1)
    low = [{**point, "recall": 0.5} for point in points]
    found = record("faiss", DATASET, run(), "1", builds, memory, low, measured(1))
    assert plot.svg("t", {"faiss": found}) is None


def test_the_reference_is_always_run():
    assert chosen("fashion-mnist", ["native-f32"]) == ["native-f32", "hnswlib"]
    assert chosen("fashion-mnist", []) == list(ENGINES)
    assert "hnsw_rs" not in chosen("synthetic-1m@5000", [])
    assert "hnsw_rs" in chosen("synthetic-1m", ["hnsw_rs"])


def test_memory_is_computed_where_a_layout_is_fixed():
    # Within a few bytes of what processes were seen to hold.
    assert computed_bytes("hnswlib", 4_000, 384) == pytest.approx(2426, rel=0.01)
    assert computed_bytes("faiss", 4_000, 384) == pytest.approx(1689, rel=0.01)
    assert computed_bytes("hnsw_rs", 4_000, 384) is None
