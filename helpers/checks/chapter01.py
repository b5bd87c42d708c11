"""Checks for chapter 1, Meet the data."""

__all__: list[str] = []
