"""target/bench/index.json: what was measured, merged by data set and engine. Pure.

    {"format": 1,
     "datasets": {name: {rows, dim, measure, queries, fingerprint, what,
                         engines: {name: record}, and the ratios to hnswlib of `summary`}},
     "rows": [one flat object per data set, engine and ef]}

A record is what one run found out about one engine (`record`). Its ratios are to hnswlib of the same run.
"""

from statistics import median

from curve import TARGETS, ratios, rounds_at, spread
from engines import ENGINES, REFERENCE, computed_bytes

FORMAT = 1


def key(target):
    return f"{target:.2f}"


def per_vector(memory, rows):
    """Bytes of anonymous memory per vector that the index added."""
    return (memory["after_search"]["anon"] - memory["before"]["anon"]) / rows


def record(name, dataset, run, version, builds, memory, points, reference):
    """What one run found out about one engine.

    builds     threads to a list of {wall, cpu} or of {failed}
    memory     {before, after_build, after_search: {anon, file} in bytes, exact_bytes}
    points     {ef, recall, qps: one per round}, by rising ef
    reference  hnswlib's (builds, memory, points) of the same run"""
    rows, exact = dataset["rows"], memory["exact_bytes"]
    their_builds, their_memory, their_points = reference

    def cpu(found):
        return median(build["cpu"] for build in found["1"])

    return {
        "run": run,
        "version": version,
        "builds": builds,
        "build_cpu_seconds": cpu(builds),
        "build_ratio": cpu(builds) / cpu(their_builds),
        "memory": memory,
        "bytes_per_vector": per_vector(memory, rows),
        "computed_bytes_per_vector": exact / rows if exact else computed_bytes(name, rows, dataset["dim"]),
        "memory_ratio": per_vector(memory, rows) / per_vector(their_memory, rows),
        "points": points,
        "qps_at": {key(target): spread(rounds_at(points, target)) for target in TARGETS},
        "qps_ratio_at": {key(target): ratios(points, their_points, target) for target in TARGETS},
    }


def summary(engines):
    """The ratios to hnswlib of a data set. `codes` is the engine with codes that is fastest at recall 0.99, and its
    name is given. None where nothing was measured."""

    def ratio(name):
        return ((engines.get(name) or {}).get("qps_ratio_at", {}).get("0.99") or {}).get("median")

    codes = [name for name in engines if ENGINES[name].kind == "codes"]
    best = max(codes, key=lambda name: ratio(name) or 0, default=None)
    floats = engines.get("native-f32", {})
    coded = engines.get(best, {})
    return {
        "qps_ratio_vs_hnswlib_at_099_codes": ratio(best),
        "qps_ratio_vs_hnswlib_at_099_f32": ratio("native-f32"),
        "build_ratio_vs_hnswlib": floats.get("build_ratio"),
        "build_ratio_vs_hnswlib_codes": coded.get("build_ratio"),
        "memory_ratio_vs_hnswlib": floats.get("memory_ratio"),
        "memory_ratio_vs_hnswlib_codes": coded.get("memory_ratio"),
        "codes_engine": best,
    }


def merge(results, name, dataset, records):
    """`results` with `records` of a data set in place of the same engines' earlier ones. Other engines' stay, if they were
    measured on the same rows."""
    datasets = dict(results.get("datasets", {}))
    earlier = datasets.get(name, {})
    same = earlier.get("fingerprint") == dataset["fingerprint"]
    engines = {**(earlier["engines"] if same else {}), **records}
    engines = {engine: engines[engine] for engine in ENGINES if engine in engines}
    datasets[name] = {**dataset, **summary(engines), "reference": REFERENCE, "engines": engines}
    return {"format": FORMAT, "datasets": datasets, "rows": flat(datasets)}


def flat(datasets):
    """One object per data set, engine and ef."""
    return [
        {
            "dataset": name,
            "engine": engine,
            "ef": point["ef"],
            "recall": point["recall"],
            **{f"qps_{part}": value for part, value in spread(point["qps"]).items()},
            "rounds": len(point["qps"]),
            "build_cpu_seconds": found["build_cpu_seconds"],
            "build_wall_seconds_2_threads": wall(found, "2"),
            "bytes_per_vector": found["bytes_per_vector"],
            "computed_bytes_per_vector": found["computed_bytes_per_vector"],
            "version": found["version"],
            "machine": found["run"]["machine"],
            "run": found["run"]["started"],
        }
        for name, dataset in datasets.items()
        for engine, found in dataset["engines"].items()
        for point in found["points"]
    ]


def wall(found, threads):
    """Median wall seconds of builds on so many threads; None if none was done, or one failed."""
    seconds = [build.get("wall") for build in found["builds"].get(threads, [])]
    return None if not seconds or None in seconds else median(seconds)
