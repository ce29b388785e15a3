"""Queries per second by clients, as SVG. Pure; no library, so that the same figures give the same bytes."""

import math
from html import escape

from engines import ENGINES
from report import medians, present

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 76, 150, 44, 56
INK, FAINT = "#222222", "#dddddd"
LABEL = 16  # least distance of two labels


def ticks(low, high):
    """1, 2, 5 x 10^n around the range."""
    steps = [factor * 10.0**power for power in range(-2, 7) for factor in (1, 2, 5)]
    first = max((s for s in steps if s <= low), default=steps[0])
    last = min((s for s in steps if s >= high), default=steps[-1])
    return [s for s in steps if first <= s <= last]


def spread(wanted):
    """Heights near the wanted ones, at least LABEL apart."""
    placed, least = {}, -math.inf
    for name, y in sorted(wanted.items(), key=lambda item: item[1]):
        placed[name] = max(y, least)
        least = placed[name] + LABEL
    return placed


def svg(found, target=0.99):
    """The document; None if no engine reached the recall."""
    middle = medians(found)
    lines = {
        name: sorted((clients, at["qps"]) for (engine, t, clients), at in middle.items() if (engine, t) == (name, target))
        for name in present(found)
    }
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        return None
    counts = sorted({clients for line in lines.values() for clients, _ in line})
    values = ticks(min(q for line in lines.values() for _, q in line), max(q for line in lines.values() for _, q in line))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    low, high = math.log(values[0]), math.log(values[-1])
    widest = math.log(counts[-1] / counts[0]) or 1

    def at(clients, qps):
        x = LEFT + math.log(clients / counts[0]) / widest * (right - LEFT)
        return x, TOP + (high - math.log(qps)) / (high - low) * (bottom - TOP)

    title = f"{found['dataset']['name']}: queries per second at recall@{found['dataset']['k']} of {target} or more"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"',
        f' font-family="sans-serif" font-size="13" fill="{INK}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for clients in counts:
        x, _ = at(clients, values[0])
        out.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="{FAINT}"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{clients}</text>')
    for qps in values:
        _, y = at(counts[0], qps)
        out.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="{FAINT}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{qps:,.0f}</text>')
    out.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 14}" text-anchor="middle">clients</text>')
    for name, line in lines.items():
        places = [at(*point) for point in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = ENGINES[name].colour
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    for name, y in spread({name: at(*line[-1])[1] for name, line in lines.items()}).items():
        out.append(f'<text x="{right + 12}" y="{y + 4:.1f}" fill="{ENGINES[name].colour}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])
