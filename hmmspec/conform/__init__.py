"""Conformance: is a kernel what the specs say?  Commands, targets that carry them out, and who judges what was seen."""
