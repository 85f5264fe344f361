"""Mistakes that the tests have to notice: one small change of the C core each (table.py), built and tested."""
