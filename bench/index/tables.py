"""The tables of docs/benchmarks.md. Pure: text in, text out."""

from curve import TARGETS
from engines import ENGINES, LEFT_OUT
from results import key, wall

NONE = "n/a"


def number(value):
    """Three digits that mean something: 12,300 and 1.23."""
    if value is None:
        return NONE
    if value >= 1000:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(found):
    return f"{number(found['median'])} ({number(found['min'])} to {number(found['max'])})" if found else NONE


def failure(found, threads):
    return next((b["failed"] for b in found["builds"].get(threads, []) if "failed" in b), None)


def table(engines):
    head = [
        "engine",
        *[f"queries/s at recall {key(target)}" for target in TARGETS],
        "ratio to hnswlib at 0.99",
        "build, 1 thread: CPU s",
        "2 threads: wall s",
        "bytes per vector: measured",
        "computed",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name, found in engines.items():
        cells = [
            f"`{name}`" if ENGINES[name].kind in ("f32", "codes") else name,
            *[spread(found["qps_at"][key(target)]) for target in TARGETS],
            spread(found["qps_ratio_at"]["0.99"]),
            number(found["build_cpu_seconds"]),
            number(wall(found, "2")),
            number(found["bytes_per_vector"]),
            number(found["computed_bytes_per_vector"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def notes(name, dataset):
    """What a reader must know to read the table right."""
    engines = dataset["engines"]
    found = []
    missing = [f"`{e}`" for e in LEFT_OUT.get(name.partition("@")[0], ()) if e not in engines]
    if missing:
        found.append(f"{' and '.join(missing)} left out for the time that they take to build.")
    for engine, record in engines.items():
        reason = failure(record, "2")
        if reason:
            found.append(f"{engine} on 2 threads: {reason}.")
    runs = {record["run"]["started"]: record["run"] for record in engines.values()}
    if len(runs) > 1:
        found.append(f"Measured in {len(runs)} runs; a ratio is always to hnswlib of the same run.")
    for run in runs.values():
        load = run["machine"]["load"]
        found.append(
            f"Seed {run['seed']}, {run['rounds']} rounds, load {load:.1f} when it began; {run['machine']['cpu']}, "
            f"{run['machine']['cores']} cores, {run['machine']['memory_gib']} GiB, Linux {run['machine']['kernel']}, "
            f"transparent huge pages: {run['machine']['huge_pages']}."
        )
    return found


def versions(datasets):
    """Engine versions of all data sets, each once."""
    found = {}
    for dataset in datasets.values():
        for engine, record in dataset["engines"].items():
            name = "native" if ENGINES[engine].kind in ("f32", "codes") else engine
            found.setdefault(name, [])
            if record["version"] not in found[name]:
                found[name].append(record["version"])
    return ", ".join(f"{name} {' and '.join(each)}" for name, each in found.items())


def section(datasets, plot=lambda name: f"bench/index-{name}.svg"):
    """The Markdown of these data sets: a table, its notes and a plot each."""
    parts = [f"Versions: {versions(datasets)}."]
    for name, dataset in datasets.items():
        distance = {"cosine": "cosine", "euclid": "Euclid"}[dataset["measure"]]
        parts += [
            f"### {name}",
            f"{dataset['what']}: {dataset['rows']:,} x {dataset['dim']}, {distance}, {dataset['queries']:,} queries.",
            table(dataset["engines"]),
            " ".join(notes(name, dataset)),
            f"![{name}: recall@10 against queries per second]({plot(name)})",
        ]
    return "\n\n".join(parts)
