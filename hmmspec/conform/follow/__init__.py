"""Following: is there a run of a spec that explains what was seen?  Bindings, event logs, sets of states."""
