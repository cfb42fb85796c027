"""Scenarios: "do this, expect that" as text, for any target.  docs/scenarios.md is the reference of the format."""
