#!/usr/bin/env python3
"""`make bench-server`: brainyd over HTTP beside embedded databases in process, on the same data and the same machine.

Each engine takes in the data in batches, builds its index, and is asked by 1 to 64 clients at the widths that reach the
recalls of interest. README.md tells what is measured, and how.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "common"))

import chart
import datasets
import report
from document import inserted
from engines import EF_CONSTRUCTION, ENGINES, M, ours
from machine import ROOT, machine, rust_versions
from peers import version
from processes import Failed, Session
from progress import Progress, duration, say
from widths import following, narrowest

K = datasets.K
TARGETS = (0.95, 0.99)


def arguments():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--dataset", default="wordnet-minilm", choices=list(datasets.SOURCES))
    options.add_argument("--engines", default=",".join(ENGINES), help="separated by commas (default: all)")
    options.add_argument("--rows", type=int, help="only the first rows, to try things; docs stay as they are")
    options.add_argument("--clients", default="1,4,16,64")
    options.add_argument("--seconds", type=float, default=4.0, help="of each search (default 4)")
    options.add_argument("--rounds", type=int, default=3, help="rounds of search, the engines in turn (default 3)")
    options.add_argument("--batch", type=int, default=1000, help="points of an upsert (default 1,000)")
    options.add_argument("--writers", type=int, default=1, help="that send batches to brainyd; a peer has one (default 1)")
    options.add_argument("--seed", type=int, default=None, help="of the order of engines (default: another each time)")
    options.add_argument("--no-docs", action="store_true", help="write only the JSON")
    options.add_argument("--programs", type=Path, default=ROOT / "target/release")
    options.add_argument("--output", type=Path, default=ROOT / "target/bench/server.json")
    options = options.parse_args()
    options.engines = options.engines.split(",")
    for name in options.engines:
        if name not in ENGINES:
            raise SystemExit(f"unknown engine {name}: there are {', '.join(ENGINES)}")
    options.clients = [int(count) for count in options.clients.split(",")]
    if options.rounds < 1 or options.batch < 1 or options.writers < 1 or min(options.clients) < 1:
        raise SystemExit("--rounds, --batch, --writers and --clients must be at least 1")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    return options


def take_in(session, dataset, options):
    """Ingest and index; what that took, and the memory after it."""
    distance = {"cosine": "Cosine", "euclid": "Euclid"}[dataset.measure]
    session.open(dataset.dim, distance, M, EF_CONSTRUCTION)
    empty = session.memory()
    ingest = session.ask("ingest", base=str(dataset.base), batch=options.batch, writers=options.writers if ours(session.name) else 1)
    index = session.ask("ready")
    say(
        f"{session.name}: {dataset.rows / ingest['wall']:,.0f} points/s durable, "
        f"indexed {duration(index['wall'])} later"
    )
    return {"empty": empty, "ingest": ingest, "index": index["wall"], "indexed": session.memory()}


def calibrate(session, dataset):
    """Target to (width, recall): the narrowest tried width that reaches it, or the best recall there is."""
    known = {}
    while (width := following(K, known, TARGETS)) is not None:
        known[width] = dataset.recall(session.found(dataset.query, K, width))
    say(f"{session.name}: recall " + ", ".join(f"{known[width]:.4f} at {width}" for width in sorted(known)))
    return {target: (width, known[width]) for target in TARGETS if (width := narrowest(known, target)) is not None}


def measure(options, folder):
    dataset = datasets.prepare(options.dataset, options.rows, Progress(f"{options.dataset}: exact neighbours"))
    order = random.Random(options.seed)
    run = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "seed": options.seed, "machine": machine()}
    rows = []
    records = {}
    # One engine at a time is up: a database that waits still has threads, and memory.
    for name in order.sample(options.engines, len(options.engines)):
        home = Path(folder) / name
        home.mkdir()
        with Session(name, options.programs, home) as session:
            record = take_in(session, dataset, options)
            record["widths"] = calibrate(session, dataset)
            points = [
                (target, clients, round)
                for round in range(options.rounds)
                for target in record["widths"]
                for clients in options.clients
            ]
            progress = Progress(f"{name}: searches")
            for done, (target, clients, round) in enumerate(points):
                width, recall = record["widths"][target]
                found = session.search(dataset.query, K, width, clients, options.seconds)
                rows.append(
                    {
                        "engine": name,
                        "target": target,
                        "recall": recall,
                        "width": width,
                        "clients": clients,
                        "round": round,
                        "qps": found["requests"] / found["wall"],
                        "p50_ms": 1000 * found["p50"],
                        "p99_ms": 1000 * found["p99"],
                    }
                )
                progress(done + 1, len(points))
            record["searched"] = session.memory()
            record["version"] = version(name) or rust_versions()["native"]
        records[name] = record
    about = {
        "name": dataset.name,
        "what": dataset.what,
        "rows": dataset.rows,
        "dim": dataset.dim,
        "measure": dataset.measure,
        "queries": dataset.queries,
        "batch": options.batch,
        "writers": options.writers,
        "k": K,
    }
    return {"format": 1, "run": run, "dataset": about, "engines": records, "rows": rows}


def main():
    options = arguments()
    say(f"seed {options.seed}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="brainy-bench-") as folder:
        found = measure(options, folder)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    part = options.output.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(part, options.output)
    say(f"{options.output} after {duration(time.monotonic() - started)}")
    text = report.section(found)
    print(text)
    if not options.no_docs and not options.rows and options.writers == 1:
        document = ROOT / "docs/benchmarks.md"
        document.write_text(inserted(document.read_text(), text, "bench-server"))
        if drawing := chart.svg(found):
            (ROOT / "docs/bench/server.svg").write_text(drawing)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        raise SystemExit(str(failure)) from None
