"""What is wrong with a registration, read off the vendor's own list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from fleetd.providers.contract import Hooks, Registered
from fleetd.tasks.addresses import same, shown
from fleetd.tasks.registration.kept import Kept


class Wanted(Struct, frozen=True):
    """What a registration is held to. `marks` name the secrets that would be accepted."""

    source: str
    title: str
    url: str
    marks: Collection[str] = ()


def judged(
    kept: Kept, listed: Mapping[str, Registered], wanted: Wanted
) -> tuple[str, str]:
    """What is wrong (gone, disabled, moved, secret) and a sentence; or neither."""
    made, title = kept.standing, wanted.title
    if made is None:
        return by_hand(kept, listed, wanted)
    found, its = listed.get(made.id), f"its webhook at {title}"
    again = f"fleetd webhook add {wanted.source}"
    if found is None:
        return "gone", f"{its} is gone: {again}"
    elsewhere = bool(wanted.url) and not same(found.url, wanted.url)
    wrongs = (
        (found.enabled is False, "disabled", "is switched off"),
        (not same(found.url, made.url), "moved", f"leads to {shown(found.url)}"),
        (elsewhere, "moved", "leads elsewhere than public_url"),
        (made.mark not in {"", *wanted.marks}, "secret", "has none of webhook_secret"),
    )
    what, said = next(((what, said) for wrong, what, said in wrongs if wrong), ("", ""))
    return what, f"{its} {said}: {again}" if what else ""


def by_hand(
    kept: Kept, listed: Mapping[str, Registered], wanted: Wanted
) -> tuple[str, str]:
    """The same for one that somebody made in the vendor's console, once it was seen."""
    if not kept.by_hand or any(fits(one, wanted.url) for one in listed.values()):
        return "", ""
    there = [listed[one] for one in kept.by_hand if one in listed]
    its = f"its webhook at {wanted.title}, made by hand,"
    if not there:
        return "gone", f"{its} is gone"
    if any(same(one.url, wanted.url) for one in there):
        return "disabled", f"{its} is switched off"
    return "moved", f"{its} leads to {shown(there[0].url)}"


def fits(one: Registered, url: str) -> bool:
    """Whether it brings events here."""
    return same(one.url, url) and one.enabled is not False


def crowded(hooks: Hooks, others: Sequence[Registered], title: str) -> str:
    """Why the vendor would take no further one, where it allows but a few an action."""
    active = [one for one in others if one.enabled is not False]
    for action in hooks.actions if hooks.slots else ():
        there = [one for one in active if action in one.actions]
        if len(there) >= hooks.slots:
            whose = " and ".join(f"{shown(one.url)} (id {one.id})" for one in there)
            return (
                f"{title} allows {hooks.slots} active webhooks for an action, and {action} "
                f"has them: {whose}. Remove one there, then run this again"
            )
    return ""
