"""Let a paused source or sink go on where it stands."""

from __future__ import annotations

import argparse

from fleetd.cli import pause


def arguments(parser: argparse.ArgumentParser) -> None:
    pause.arguments(parser)


def main(chosen: argparse.Namespace) -> int:
    return pause.switch(chosen, "resume")
