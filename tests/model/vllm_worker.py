"""Loads a model folder with vLLM on the CPU and prints what it sees and generates, as JSON.

Arguments: the folder, the prompt's token ids as JSON.
"""

import json
import sys

from vllm import LLM, SamplingParams


def main(path: str, prompt: list[int]) -> None:
    model = LLM(path, dtype="float32", enforce_eager=True, max_num_seqs=2)
    greedy = SamplingParams(temperature=0.0, max_tokens=16, ignore_eos=True)
    output = model.generate({"prompt_token_ids": prompt}, greedy)[0].outputs[0]
    config = model.llm_engine.model_config
    seen = {
        "tokens": list(output.token_ids),
        "window": config.max_model_len,
        "rope_parameters": config.hf_config.rope_parameters,
    }
    print("RESULT " + json.dumps(seen), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
