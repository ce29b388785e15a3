"""Recall against queries per second as SVG. Pure; no library, so that the same figures give the same bytes."""

import math
from html import escape
from statistics import median

from curve import front
from engines import ENGINES

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 76, 176, 44, 56
LOWEST, HIGHEST = 0.85, 0.9998
INK, FAINT = "#222222", "#dddddd"
TICKS = (0.85, 0.90, 0.95, 0.98, 0.99, 0.995, 0.999)


def x_of(recall):
    """By the logarithm of what is missed: 0.99 to 0.999 is as far as 0.9 to 0.99."""
    share = math.log((1 - LOWEST) / (1 - recall)) / math.log((1 - LOWEST) / (1 - HIGHEST))
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def decades(low, high):
    """Tick values 1, 2, 5 x 10^n that enclose the range, first and last included."""
    steps = [factor * 10.0**power for power in range(-3, 9) for factor in (1, 2, 5)]
    first = max((s for s in steps if s <= low), default=steps[0])
    last = min((s for s in steps if s >= high), default=steps[-1])
    return [s for s in steps if first <= s <= last]


def curves(engines):
    """Engine to its front's (recall, min, median, max), of recall LOWEST to HIGHEST. Engines without any are left out."""
    found = {}
    for name, record in engines.items():
        points = record["points"]
        kept = [points[i] for i in front([(p["recall"], median(p["qps"])) for p in points])]
        kept = [p for p in kept if LOWEST <= p["recall"] <= HIGHEST]
        line = [(p["recall"], min(p["qps"]), median(p["qps"]), max(p["qps"])) for p in kept]
        if line:
            found[name] = line
    return found


def labels(ends, gap=16):
    """Vertical places of labels near `ends`, {name: y}, at least `gap` apart and in the same order."""
    placed, last = {}, -math.inf
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        last = placed[name] = max(y, last + gap)
    return placed


def svg(title, engines):
    """The document; None if no engine has a point to show."""
    lines = curves(engines)
    if not lines:
        return None
    values = [value for line in lines.values() for _, low, _, high in line for value in (low, high)]
    ticks = decades(min(values), max(values))
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def y_of(qps):
        return TOP + (high - math.log(qps)) / (high - low) * (HEIGHT - TOP - BOTTOM)

    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"',
        f' font-family="sans-serif" font-size="13" fill="{INK}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for recall in TICKS:
        x = x_of(recall)
        out.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="{FAINT}"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{recall:g}</text>')
    for qps in ticks:
        y = y_of(qps)
        out.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="{FAINT}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{qps:,.0f}</text>')
    out.append(f'<path d="M{LEFT} {TOP}V{bottom}H{right}" stroke="{INK}" fill="none"/>')
    out.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 14}" text-anchor="middle">recall@10</text>')
    middle = (TOP + bottom) / 2
    out.append(
        f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">'
        "queries per second of processor time, one thread</text>"
    )
    for name, line in lines.items():
        colour = ENGINES[name].colour
        path = " ".join(f"{x_of(r):.1f},{y_of(q):.1f}" for r, _, q, _ in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for recall, least, mid, most in line:
            x = x_of(recall)
            out.append(
                f'<path d="M{x:.1f} {y_of(most):.1f}V{y_of(least):.1f}" stroke="{colour}" stroke-opacity="0.5"/>'
            )
            out.append(f'<circle cx="{x:.1f}" cy="{y_of(mid):.1f}" r="3" fill="{colour}"/>')
    for name, y in labels({name: y_of(line[-1][2]) for name, line in lines.items()}).items():
        colour, x = ENGINES[name].colour, x_of(lines[name][-1][0])
        end = y_of(lines[name][-1][2])
        out.append(f'<path d="M{x + 4:.1f} {end:.1f}L{right + 14} {y:.1f}" stroke="{colour}" stroke-opacity="0.4"/>')
        out.append(f'<text x="{right + 18}" y="{y + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])
