"""The chat service: what its users see, what its engines do, who uses it."""

from cluster.grafana import Dashboard, Panel, Series, per_second, quantiles

CHAT = Dashboard(
    "longspan-chat",
    "Longspan: chat service",
    {
        "Latency": (
            Panel(
                "Requests",
                "reqps",
                per_second("ray_longspan_serve_requests_total", "status, ended"),
                "By HTTP status and how they ended; 'client gone' is a reader who stopped.",
            ),
            Panel(
                "Time to the first token",
                "s",
                quantiles("ray_vllm_time_to_first_token_seconds"),
                "In the engine: waiting for room, and reading the prompt.",
            ),
            Panel(
                "Time between tokens",
                "s",
                quantiles("ray_vllm_inter_token_latency_seconds"),
                "What an answer's flow looks like; long prompts of others make it uneven.",
            ),
            Panel(
                "Time to the first byte",
                "s",
                quantiles("ray_longspan_serve_first_byte_seconds"),
                "The same at the door of the service.",
            ),
            Panel(
                "Time of a request",
                "s",
                quantiles("ray_longspan_serve_request_seconds"),
                "To the last token.",
            ),
            Panel(
                "Time in the queue",
                "s",
                quantiles("ray_vllm_request_queue_time_seconds"),
                "Before the engine begins; it grows when replicas are too few.",
            ),
        ),
        "What the engines do": (
            Panel(
                "Requests in the engines",
                "short",
                (
                    Series("sum(ray_vllm_num_requests_running)", "running"),
                    Series("sum(ray_vllm_num_requests_waiting)", "waiting"),
                ),
                "Of all replicas.",
            ),
            Panel(
                "Tokens",
                "short",
                (
                    Series("sum(rate(ray_vllm_prompt_tokens_total[RATE]))", "of prompts, a second"),
                    Series(
                        "sum(rate(ray_vllm_generation_tokens_total[RATE]))", "of answers, a second"
                    ),
                ),
                "Read and written.",
            ),
            Panel(
                "Cache in use",
                "percentunit",
                (Series("avg(ray_vllm_kv_cache_usage_perc)", "of keys and values"),),
                "At 100 % requests wait, or are set back.",
            ),
            Panel(
                "Prompts found in the cache",
                "percentunit",
                (
                    Series(
                        "sum(rate(ray_vllm_prefix_cache_hits_total[RATE])) / "
                        "sum(rate(ray_vllm_prefix_cache_queries_total[RATE]))",
                        "share of their tokens",
                    ),
                ),
                "The next question about a document finds it there.",
            ),
            Panel(
                "Passed on",
                "reqps",
                (
                    Series(
                        "sum(rate(ray_longspan_serve_prefix_forwarded_requests_total[RATE]))",
                        "to another replica",
                    ),
                ),
                "Long prompts, to the replica whose cache has their beginning.",
            ),
            Panel(
                "Replicas",
                "short",
                (Series("sum(ray_serve_deployment_replica_healthy)", "healthy"),),
                "They come and go with the tokens that are queued and running.",
            ),
            Panel(
                "Set back for want of cache",
                "short",
                (Series("sum(increase(ray_vllm_num_preemptions_total[RATE]))", "requests"),),
                "Computed again later; more cache, or fewer requests at a time, helps.",
            ),
        ),
        "Who uses it": (
            Panel(
                "Tokens by key",
                "short",
                per_second("ray_longspan_serve_tokens_total", "key, kind"),
                "A second.",
            ),
            Panel(
                "Requests by key",
                "reqps",
                per_second("ray_longspan_serve_requests_total", "key"),
                "Without a name: no key, or a wrong one.",
            ),
        ),
    },
)
