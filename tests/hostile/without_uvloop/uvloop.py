"""Stands before the real one on the path of a room that is to run on asyncio's own loop."""

raise ImportError("hidden")
