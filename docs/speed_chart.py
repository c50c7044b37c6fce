"""Draw the chart of the README from the results of `benchmarks/bench_peers.py`.

`python docs/speed_chart.py` writes `docs/_static/speed.svg`. A test compares the file with the results.
"""

import json
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results" / "peers.json"
CHART = HERE / "_static" / "speed.svg"

BAR_LEFT, BAR_WIDTH, ROW_HEIGHT = 250, 380, 34
STYLE = """
text { font: 15px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.peer { fill: #8c959f; } .ours { fill: #0969da; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .ours { fill: #4493f8; } }
"""


def seconds():
    """Median seconds of each bar, by its label, the slowest first."""
    rows = {row["name"]: row for row in json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]}
    loop, bagging = "Keras' fit in a loop", "BaggingClassifier(MLPClassifier)"
    return {
        loop: rows[f"first fit: {loop}"]["peer"]["median"],
        "torchensemble": rows["first fit: torchensemble"]["peer"]["median"],
        bagging: rows[f"later fits: {bagging}"]["peer"]["median"],
        "skensemble, first fit": rows[f"first fit: {loop}"]["ours"]["median"],
        "skensemble, later fits": rows[f"later fits: {loop}"]["ours"]["median"],
    }


def draw():
    """The chart as SVG: one bar a row, on a linear axis."""
    values = seconds()
    slowest = max(values.values())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {ROW_HEIGHT * (len(values) + 1)}" role="img">',
        "<title>Seconds to train 20 networks</title>",
        f"<style>{STYLE}</style>",
        '<text x="0" y="20" font-weight="bold">Seconds to train 20 small networks, on two cores</text>',
    ]
    for row, (label, value) in enumerate(values.items(), start=1):
        top, width = ROW_HEIGHT * row, max(BAR_WIDTH * value / slowest, 1)
        number = f"{value:.0f}" if value >= 100 else f"{value:.2g}"
        kind = "ours" if label.startswith("skensemble") else "peer"
        lines += [
            f'<text x="0" y="{top + 18}">{label}</text>',
            f'<rect class="{kind}" x="{BAR_LEFT}" y="{top + 3}" width="{width:.1f}" height="20" rx="2"/>',
            f'<text x="{BAR_LEFT + width + 8:.1f}" y="{top + 18}">{number}</text>',
        ]
    return "\n".join([*lines, "</svg>\n"])


if __name__ == "__main__":
    CHART.write_text(draw(), encoding="utf-8")
