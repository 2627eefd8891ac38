"""Losses of a prompt by vLLM on the CPU, printed as JSON.

Arguments: the model's folder, the prompt's token ids as JSON.
"""

import json
import sys

from vllm import LLM, SamplingParams


def main(path: str, prompt: list[int]) -> None:
    model = LLM(path, dtype="float32", enforce_eager=True, max_num_seqs=2, max_model_len=1024)
    asked = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
    output = model.generate({"prompt_token_ids": prompt}, asked)[0]
    assert output.prompt_logprobs is not None, "they were asked for"
    found = output.prompt_logprobs[1:]
    losses = [-each[id].logprob for each, id in zip(found, prompt[1:], strict=True) if each]
    assert len(losses) == len(prompt) - 1, "each token but the first has one"
    print("RESULT " + json.dumps(losses), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
