"""The protocols of direct paths: calls, keys, hole punching, and one session on several carriers."""
