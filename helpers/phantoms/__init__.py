"""Synthetic slices of virtual patients, drawn where every answer is known."""

from .patients import VERSION, PhantomSet, generate

__all__ = ["VERSION", "PhantomSet", "generate"]
