"""Attacks on a real room, beside an honest pair that must not notice.

    python -m tests.hostile --list
    python -m tests.hostile --attack lists --attack calls --seconds 10
    python -m tests.hostile --all --json

Each trial starts `ssbfast room` as a process of its own, an honest pair as another (`honest.py`: a call through a
tunnel every 50 ms, a join with a fresh key every 200 ms, two friends' new tunnels every second) and, after a time in
which only these are there, the attack as a third (`attack.py`). `trial.py` measures: idle, attack, after.
"""
