"""A model checker and conformance suite for Linux HMM."""

__version__ = "0.1.0"
