"""The bulk driver: the same operations on the same state, straight through and over whole ranges at once.

Nothing is decided here.  An operation on many pages asks `kernel.bulk`, if there is one, before it goes page by page.
What is ordinary in the range (single anonymous pages that nobody else holds) is then done at once, with the formulas of
`entries.py`, `selection.py` and `requests.py`; the rest goes on page by page, in the same order.  What is left behind,
and what was charged, is the same to the last bit.
"""
