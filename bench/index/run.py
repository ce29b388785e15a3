#!/usr/bin/env python3
"""`make bench-index`: Brainy's index, hnsw_rs, hnswlib, faiss and usearch on the same data, in one interleaved run.

k = 10, M = 16, efConstruction = 200. Each engine is a process of its own; a search runs on one thread, and its processor
time counts. README.md tells what is measured, and how.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "common"))

import datasets
import plot
import results
import sweep
import tables
from document import inserted
from engines import EF_CONSTRUCTION, ENGINES, REFERENCE, M, chosen
from machine import ROOT, machine, rust_versions
from processes import Failed, Process
from progress import Progress, duration, say

K = datasets.K
WARMUP = 100  # queries before the clock starts


def arguments():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ", ".join(datasets.SOURCES)
    options.add_argument("--datasets", default="all", help=f"separated by commas, of {names} (default: all)")
    options.add_argument("--engines", default="", help=f"of {', '.join(ENGINES)}; {REFERENCE} is always run with them")
    options.add_argument("--rounds", type=int, default=5, help="interleaved rounds of search (default 5)")
    options.add_argument(
        "--rows", type=int, help="only the first rows of each base, to try things; docs stay as they are"
    )
    options.add_argument("--build-runs", type=int, default=1, help="how often each index is built (default once)")
    options.add_argument("--no-threads", action="store_true", help="skip the builds on 2 threads")
    options.add_argument("--seed", type=int, default=None, help="of the order of engines (default: another each time)")
    options.add_argument("--no-docs", action="store_true", help="write only the JSON")
    options.add_argument("--docs-only", action="store_true", help="measure nothing: write docs from the JSON")
    options.add_argument("--worker", type=Path, default=ROOT / "target/release/brainy-index-bench")
    options.add_argument("--output", type=Path, default=ROOT / "target/bench/index.json")
    options = options.parse_args()
    wanted = list(datasets.SOURCES) if options.datasets == "all" else options.datasets.split(",")
    for name in wanted:
        if name not in datasets.SOURCES:
            raise SystemExit(f"unknown data set {name}: there are {names}")
    options.datasets = wanted
    options.engines = [name for name in options.engines.split(",") if name]
    for name in options.engines:
        if name not in ENGINES:
            raise SystemExit(f"unknown engine {name}: there are {', '.join(ENGINES)}")
    if options.rounds < 1 or options.build_runs < 1:
        raise SystemExit("--rounds and --build-runs must be at least 1")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    return options


def build(process, dataset, threads, timeout=None):
    """Loads the data and builds; (answer to the build, version)."""
    loaded = process.ask("load", base=str(dataset.base), queries=str(dataset.query), measure=dataset.measure)
    answer = process.ask("build", timeout, engine=process.engine, m=M, ef_construction=EF_CONSTRUCTION, threads=threads)
    return answer, loaded.get("version")


def build_all(dataset, names, options, order, stack, folder):
    """Builds every engine. The process of each one's first build on one thread is kept for the search."""
    held, first = {}, {}
    builds = {name: {"1": [], "2": []} for name in names}
    progress = Progress(f"{dataset.name}: builds", every=0)
    threads = (1,) if options.no_threads else (1, 2)
    total, done = len(names) * options.build_runs * len(threads), 0
    for _ in range(options.build_runs):
        for name in order.sample(names, len(names)):
            for count in threads:
                process = Process(name, options.worker, count, folder)
                keep = count == 1 and name not in held
                owner = stack if keep else ExitStack()
                owner.enter_context(process)
                try:
                    # Parallel inserts of some engine may never end: ten times the time on one thread is enough.
                    limit = max(600, 10 * builds[name]["1"][0]["wall"]) if count == 2 else None
                    answer, version = build(process, dataset, count, limit)
                    builds[name][str(count)].append({part: answer[part] for part in ("wall", "cpu")})
                    took = f"{answer['cpu']:.1f} s CPU, {answer['wall']:.1f} s"
                    if keep:
                        held[name], first[name] = process, (answer, version)
                except Failed as failure:
                    if count == 1:
                        raise
                    builds[name]["2"].append({"failed": str(failure)})
                    took = str(failure)
                if not keep:
                    owner.close()
                done += 1
                say(f"{dataset.name}: {name} built on {count} thread{'s' * (count > 1)}: {took}")
                progress(done, total)
    return held, first, builds


def calibrate(dataset, process):
    """ef to recall, of the efs worth timing."""
    known = {}
    while (ef := sweep.following(K, known)) is not None:
        known[ef] = dataset.recall(process.found(K, ef))
    efs = sweep.wanted(known)
    say(f"{dataset.name}: {process.engine}: recall " + ", ".join(f"{known[ef]:.4f} at {ef}" for ef in efs))
    return {ef: known[ef] for ef in efs}


def search_all(dataset, held, curves, options, order):
    """Engine to ef to queries per second of processor time, one per round. The engines take turns, ef by ef."""
    found = {name: {ef: [] for ef in curve} for name, curve in curves.items()}
    progress = Progress(f"{dataset.name}: searches")
    total, done = options.rounds * sum(map(len, curves.values())), 0
    for _ in range(options.rounds):
        left = {name: order.sample(list(curve), len(curve)) for name, curve in curves.items()}
        while left:
            for name in order.sample(list(left), len(left)):
                ef = left[name].pop()
                answer = held[name].ask("search", k=K, ef=ef, warmup=WARMUP, ids=None)
                found[name][ef].append(answer["queries"] / answer["cpu"])
                done += 1
                progress(done, total)
            left = {name: efs for name, efs in left.items() if efs}
    return found


def measure(source, options, folder):
    """(data set's name, what it is, engine to record) of one data set."""
    dataset = datasets.prepare(source, options.rows, Progress(f"{source}: exact neighbours"))
    names = chosen(dataset.name, options.engines)
    order = random.Random(f"{options.seed} {dataset.name}")
    run = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": options.seed,
        "rounds": options.rounds,
        "machine": machine(),
    }
    say(f"{dataset.name}: {dataset.rows:,} x {dataset.dim}, {dataset.queries:,} queries; {', '.join(names)}")
    with ExitStack() as stack:
        held, first, builds = build_all(dataset, names, options, order, stack, folder)
        curves = {name: calibrate(dataset, held[name]) for name in names}
        qps = search_all(dataset, held, curves, options, order)
        memory = {
            name: {
                "before": answer["before"],
                "after_build": answer["after"],
                "after_search": held[name].ask("memory"),
                "exact_bytes": answer["exact_bytes"],
            }
            for name, (answer, _) in first.items()
        }
    points = {
        name: [{"ef": ef, "recall": recall, "qps": qps[name][ef]} for ef, recall in curve.items()]
        for name, curve in curves.items()
    }
    about = {
        "what": dataset.what,
        "rows": dataset.rows,
        "dim": dataset.dim,
        "measure": dataset.measure,
        "queries": dataset.queries,
        "fingerprint": sha256(dataset.kth.tobytes()).hexdigest()[:16],
    }
    rust = rust_versions()
    records = {}
    for name in names:
        version = first[name][1] or rust["hnsw_rs" if ENGINES[name].kind == "baseline" else "native"]
        reference = builds[REFERENCE], memory[REFERENCE], points[REFERENCE]
        records[name] = results.record(name, about, run, version, builds[name], memory[name], points[name], reference)
    return dataset.name, about, records


def read(path):
    """What earlier runs have measured."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    if found.get("format") != results.FORMAT:
        raise SystemExit(f"{path} has format {found.get('format')}, this is {results.FORMAT}: move it away")
    return found


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


def write_docs(found):
    """Tables and plots of the whole data sets."""
    whole = {name: found["datasets"][name] for name in datasets.SOURCES if name in found.get("datasets", {})}
    if not whole:
        say("no whole data set was measured: docs stay as they are")
        return
    document = ROOT / "docs/benchmarks.md"
    write(document, inserted(document.read_text(), tables.section(whole), "bench-index"))
    for name, dataset in whole.items():
        title = f"{name}: {dataset['rows']:,} x {dataset['dim']}, M {M}, efConstruction {EF_CONSTRUCTION}"
        drawing = plot.svg(title, dataset["engines"])
        if drawing:
            write(ROOT / f"docs/bench/index-{name}.svg", drawing)


def report(name, about, records):
    say(f"{name}: done")
    for engine, record in records.items():
        ratio = tables.spread(record["qps_ratio_at"]["0.99"])
        say(
            f"  {engine:14} {tables.spread(record['qps_at']['0.99']):>28} queries/s at 0.99, "
            f"ratio {ratio}, build {record['build_ratio']:.2f}, memory {record['memory_ratio']:.2f}"
        )


def main():
    options = arguments()
    if not options.docs_only:
        say(f"seed {options.seed}")
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            for source in options.datasets:
                name, about, records = measure(source, options, folder)
                # Read as late as possible: another run may have written meanwhile.
                found = results.merge(read(options.output), name, about, records)
                write(options.output, json.dumps(found, indent=1) + "\n")
                report(name, about, records)
        say(f"{options.output} after {duration(time.monotonic() - started)}")
    if not options.no_docs and not options.rows:
        write_docs(read(options.output))


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        raise SystemExit(str(failure)) from None
