"""Experiments on the real images: run once, recorded for everybody."""
