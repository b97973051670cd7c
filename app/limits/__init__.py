"""What each user, each key and each tenant may use: decided here, counted in stores.

`bucket` and `rules` are pure; `limiter` asks the counters that all processes share, or this
process's own while those are away; `budget` is the core's port of what an answer may cost.
"""
