"""Simulated vendors: what a fleet drove, served and pushed as each vendor does it."""
