"""Fixtures that more than one file of tests uses."""

from browsing import addresses, browser, context

__all__ = ["addresses", "browser", "context"]
