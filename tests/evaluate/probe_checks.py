"""What holds for the samples of every probe."""

import pickle
from dataclasses import replace

from longspan.evaluate.samples import ProbeSource, Sample, Task


def prompt_tokens(source: ProbeSource, sample: Sample) -> int:
    return len(source.format.prompt_ids(sample.text, sample.answer_prefix))


def check_sample(task: Task, source: ProbeSource, length: int, index: int, slack: int) -> Sample:
    """A sample, of which all has been checked that does not depend on its task; `slack` tokens may be missing."""
    sample = task.sample(source, length, index)
    assert (sample.task, sample.length, sample.index) == (task.name, length, index)
    assert length - slack < prompt_tokens(source, sample) + sample.max_tokens <= length
    assert all(0 <= start < end <= len(sample.text) for start, end in sample.evidence)
    assert sample.cluster
    assert sample.id == task.sample_id(source, length, index)
    # The same in another process, and whatever was asked for before.
    again, elsewhere = pickle.loads(pickle.dumps(task)), replace(source)
    assert again.sample(elsewhere, length, index) == sample
    other_seed = replace(source, seed=source.seed + 1)
    assert task.sample(other_seed, length, index).id != sample.id
    assert task.sample(other_seed, length, index).text != sample.text
    return sample


def evidence_of(sample: Sample) -> list[str]:
    """The texts that hold the answer."""
    return [sample.text[start:end] for start, end in sample.evidence]
