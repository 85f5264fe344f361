"""What users install: built, audited, installed without a compiler, and tested there. `./dev wheel` runs it.

No tests lie here: `making` builds the archives, `trying` runs the project's tests against what was installed.
"""
