"""The lists of what is not fused, in the guide: read by the sweep, written by `python tests/sweep/refusals.py`.

Each backend has a list of its own: `KERAS_BACKEND=jax python tests/sweep/refusals.py` writes that of JAX.
"""

import re
from pathlib import Path

import keras

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "engine.md"
REFUSED = f"refused on {keras.backend.backend()}"
_SECTION = "(<!-- {name}: written by tests/sweep/refusals.py -->\n)(.*?)(<!-- end -->)"


def listed(name):
    """A list of the page, `REFUSED` or "not in a member": (namespace, entries) -> reason."""
    text = re.search(_SECTION.format(name=name), PAGE.read_text(encoding="utf-8"), re.DOTALL).group(2)
    found = {}
    for entries, reason in re.findall(r"^\| (`.+`) \| (.+) \|$", text, re.MULTILINE):
        namespaces, names = zip(*(entry.rsplit(".", 1) for entry in re.findall("`(.+?)`", entries)), strict=True)
        found[namespaces[0], " ".join(names)] = reason
    return found


def with_list(text, name, reasons):
    """The text of the page with a list written anew."""
    rows = [
        f"| {', '.join(f'`{namespace}.{entry}`' for entry in entries.split())} | {reason} |\n"
        for (namespace, entries), reason in sorted(reasons.items())
    ]
    table = "".join(["| entry | reason |\n", "|---|---|\n", *rows])
    return re.sub(
        _SECTION.format(name=name), lambda found: found.group(1) + table + found.group(3), text, flags=re.DOTALL
    )


def main():
    """Run the whole sweep, and write both lists."""
    from sweep import sweep
    from sweep_recipes import CASES, NOT_IN_A_MEMBER

    refused = {}
    for name, case in CASES.items():
        known = {entries for namespace, entries in listed(REFUSED) if namespace == case.namespace}
        failures, reasons = sweep(case, known)
        print(f"{name}: {failures or 'right'}, refused {reasons}", flush=True)
        refused |= {(case.namespace, entries): reason for entries, reason in reasons.items()}
    impossible = {
        (namespace, entry): reason for namespace, known in NOT_IN_A_MEMBER.items() for entry, reason in known.items()
    }
    text = with_list(PAGE.read_text(encoding="utf-8"), REFUSED, refused)
    PAGE.write_text(with_list(text, "not in a member", impossible), encoding="utf-8")


if __name__ == "__main__":
    main()
