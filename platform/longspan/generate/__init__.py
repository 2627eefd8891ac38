"""Text generation on the cluster: prompts in, replies committed to the store part by part.

Engines of vLLM on Ray Data, or a server with an OpenAI-compatible API, answer requests that a `RequestSource` makes
and turns into records. A job that is killed asks only for what is missing. `instruct` (questions, answers, verdicts)
and `evaluate` (probes) use it; this package imports neither.
"""
