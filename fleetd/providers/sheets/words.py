"""What is said to people about a sheet that is read."""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.google import letters

SHOWN = 12


def share(email: str) -> str:
    return f"share this sheet with {email} as Viewer (as Editor if a sink writes to it)"


def no_such_tab(tab: str, there: Sequence[str]) -> str:
    return f"there is no tab '{tab}'; there are: {listed(there)}"


def a_log(tab: str, mode: str) -> str:
    what = "a log of events" if mode == "append" else "an audit"
    return (
        f"tab '{tab}' is {what} of fleetd's own; name one that is kept with"
        ' mode = "upsert", or one of yours'
    )


def renamed(tab: str, kept: str) -> str:
    return f"tab '{tab}' is the one that fleetd keeps as '{kept}': set tab = \"{kept}\""


def no_header(tab: str, needed: Sequence[str]) -> str:
    what = f"holds {listed(needed)}" if needed else "names a column that is known"
    return (
        f"tab '{tab}' has no header: none of its first rows {what};"
        ' write one, or say what the columns are: columns = { Truck = "id" }'
    )


def header_missing(tab: str, row: int | None, name: str, there: Sequence[str]) -> str:
    where = "its header" if row is None else f"its header (row {row + 1})"
    return (
        f"tab '{tab}': {where} has no '{name}', only {listed(there)};"
        " write it there again, or change the config as well"
    )


def header_gone(tab: str, row: int, name: str, field: str) -> str:
    return (
        f"tab '{tab}': the header '{name}' is gone from row {row + 1}, and with it every"
        f" {field}; write it there again, or say what the columns are: columns = {{ ... }}"
    )


def header_twice(tab: str, name: str, columns: Sequence[int]) -> str:
    where = " and ".join(letters(one) for one in columns[:2])
    return f"tab '{tab}': columns {where} are both headed '{name}'; rename one of them"


def no_key(tab: str, there: Sequence[str]) -> str:
    return (
        f"tab '{tab}': no column says which row is whose; name the one (or more) that"
        f' does: key = ["..."], out of {listed(there)}'
    )


def no_marks(tab: str) -> str:
    return (
        f"tab '{tab}' is kept by fleetd, but its hidden column 'fleetd' or a header of"
        " its key is gone: nobody can tell any more what people wrote there"
    )


def too_many(tab: str, rows: int) -> str:
    return f"tab '{tab}' has more than {rows} rows: name fewer of them in `range`"


def restless(tab: str) -> str:
    return f"people move the columns of tab '{tab}' as fast as they are read"


def merged(tab: str, most: int) -> str:
    return f"tab '{tab}' has more than {most} merged areas: take some of them apart"


def listed(names: Sequence[str]) -> str:
    some = [f"'{one[:40]}'" for one in names if one][:SHOWN]
    return ", ".join(some) or "nothing"


# of a row: these become dead letters


def no_id(names: Sequence[str], told: Sequence[str]) -> str:
    what = listed(told[:3])
    return (
        f"the row of {what} has nothing under {listed(names)}: nobody knows whose it is"
    )


def wrong_value(ident: str, header: str, shows: str) -> str:
    return f"'{ident[:40]}': '{header[:40]}' shows {shows[:20]}; mend the formula"


def too_long(header: str) -> str:
    return f"'{header[:40]}' holds more digits than a number in a sheet keeps: format it as text"


def twice(ident: str) -> str:
    return (
        f"a second row of '{ident[:60]}': the upper one counts; delete one of them, or name"
        " in `key` what tells them apart"
    )
