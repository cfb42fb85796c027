"""The symbolic engine: a System as formulas, for Z3."""
