"""Reporting: the results table, the figures and the live display, from plain frames and arrays."""

DISCLAIMER = "Research software: not for diagnosis."
