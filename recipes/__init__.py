"""Runnable scripts, one for each result that we claim; `labelspace run NAME` runs one with its config."""
