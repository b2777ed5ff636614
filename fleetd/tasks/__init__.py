"""What runs: each file is one kind of task over the rooms below."""

from __future__ import annotations
