"""What was measured, in Markdown. Pure."""

from statistics import median

from engines import ENGINES

NONE = "n/a"


def number(value):
    if value >= 1000:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def mebibytes(count):
    return f"{count / 2**20:,.0f}"


def cells(head, lines):
    rows = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*rows, *("| " + " | ".join(line) + " |" for line in lines)])


def present(found):
    """Names of the engines measured, in their own order."""
    return [name for name in ENGINES if name in found["engines"]]


def ingest(found):
    rows = found["dataset"]["rows"]
    lines = []
    for name in present(found):
        record = found["engines"][name]
        took = record["ingest"]
        lines.append(
            [
                name,
                number(rows / took["wall"]),
                f"{number(1000 * took['p50'])} / {number(1000 * took['p99'])}",
                number(rows / (took["wall"] + record["index"])),
                mebibytes(record["searched"]["anon"]),
                mebibytes(record["searched"]["anon"] + record["searched"]["file"]),
                mebibytes(record["searched"]["peak"]),
                ENGINES[name].durable,
            ]
        )
    head = [
        "engine",
        "points/s acknowledged",
        "batch p50 / p99, ms",
        "points/s until indexed",
        "MiB anonymous after searches",
        "MiB with mapped files",
        "MiB at the peak",
        "acknowledged means",
    ]
    return cells(head, lines)


def medians(found):
    """(engine, target, clients) to the medians of the rounds."""
    groups = {}
    for row in found["rows"]:
        groups.setdefault((row["engine"], row["target"], row["clients"]), []).append(row)
    figures = ("qps", "p50_ms", "p99_ms")
    return {key: {name: median(row[name] for row in rows) for name in figures} for key, rows in groups.items()}


def search(found, target):
    middle = medians(found)
    clients = sorted({row["clients"] for row in found["rows"]})
    lines = []
    for name in present(found):
        reached = [row for row in found["rows"] if row["engine"] == name and row["target"] == target]
        if not reached:
            lines.append([name, NONE, *[NONE] * len(clients)])
            continue
        line = [name, f"{reached[0]['recall']:.4f} at {reached[0]['width']}"]
        for count in clients:
            at = middle.get((name, target, count))
            line.append(
                f"{number(at['qps'])} ({number(at['p50_ms'])} / {number(at['p99_ms'])})" if at else NONE
            )
        lines.append(line)
    names = [f"{count} client{'s' * (count > 1)}: queries/s (p50 / p99, ms)" for count in clients]
    return cells(["engine", "recall at width", *names], lines)


def section(found):
    about, run = found["dataset"], found["run"]
    versions = ", ".join(f"{name} {found['engines'][name]['version']}" for name in present(found))
    on = run["machine"]
    parts = [
        f"{about['what']}: {about['rows']:,} x {about['dim']}, batches of {about['batch']:,}, k = {about['k']}. {versions}.",
        ingest(found),
    ]
    for target in sorted({row["target"] for row in found["rows"]}):
        parts += [f"The narrowest tried search with recall@{about['k']} of at least {target}:", search(found, target)]
    parts += [
        f"Seed {run['seed']}, load {on['load']:.1f} when it began; {on['cpu']}, {on['cores']} cores, "
        f"{on['memory_gib']} GiB, Linux {on['kernel']}.",
        "![Queries per second by clients](bench/server.svg)",
    ]
    return "\n\n".join(parts)
