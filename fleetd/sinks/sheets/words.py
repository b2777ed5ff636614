"""What is said to people about their sheet."""

from __future__ import annotations


def not_ours(title: str, rows: int) -> str:
    return (
        f"tab '{title}' has {rows} row{'' if rows == 1 else 's'} fleetd did not write;"
        " name an empty tab or set adopt = true"
    )


def of_another(title: str, box: str) -> str:
    return (
        f"tab '{title}' belongs to another fleetd ({box}); name another tab, or set"
        " adopt = true once that one writes here no more"
    )


def of_another_mode(title: str, mode: str) -> str:
    return (
        f"tab '{title}' was kept with mode = \"{mode}\"; name another tab for this one"
    )


def header_changed(title: str, header: str) -> str:
    return (
        f"tab '{title}': row 1 has no header '{header}' any more; write it there again, or"
        " change it in `columns` as well"
    )


KEPT = {
    "append": "a row for each event",
    "upsert": "one row a key, kept current",
    "audit": "what it wrote and what people changed",
}


def note(mode: str, zone: str) -> str:
    times = f"Times are {zone}. Columns beside it are yours."
    return f"fleetd writes this column: {KEPT[mode]}. {times}"


def protection(name: str) -> str:
    return f"fleetd keeps {name}: what is typed here may be written over"


def title_of_replay(title: str, job: int) -> str:
    return f"{title} replay {job}"


def crowded(title: str, rows: int) -> str:
    return f"tab '{title}' has {rows} rows, more than can be kept current: name an empty tab"


def columns_moved(title: str) -> str:
    return f"people moved columns of '{title}' while it was written"


def edited(title: str, header: str, theirs: object) -> str:
    text = str(theirs if theirs is not None else "")[:80]
    return (
        f"tab '{title}': a person changed '{header}' to '{text}' (conflict = \"error\")"
    )
