"""Clouds that live in a test: real servers on loopback that behave like the real ones."""
