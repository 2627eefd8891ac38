"""Ingest: raw files to committed token shards, against tokenizers over the same text in memory.

The ingest reads, decompresses, decodes, checks the tokenizer, encodes, hashes, splits, compresses
and commits; the bare tokenizers only encode, on as many cores. The sides take turns; medians.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import (
    SAMPLES,
    SEPARATOR,
    local_ray,
    machine,
    parse,
    parser,
    sample_spec,
    table,
    temporary_store,
    timed,
)
from benchmarks.encoders import Encoders
from longspan.corpus.sources import SourceSpec, documents
from longspan.ingest.corpora import Ingest
from longspan.ingest.objects import BATCH_CHARACTERS
from longspan.storage import Store


def write_raw(store: Store, samples: Path, least_bytes: int) -> list[list[str]]:
    """Copies of the samples, each of its own texts, below raw/; and the batches of their texts."""
    originals = [
        (spec.name, info.path, list(documents(store, info.path, spec)))
        for spec in (sample_spec(samples, name) for name in SAMPLES)
        for info in store.list(spec.patterns[0])
    ]
    batches: list[list[str]] = []
    written = copy = 0
    while written < least_bytes:
        for source, path, texts in originals:
            texts = [f"{copy} {text}" for text in texts]
            written += sum(len(text.encode()) for text in texts)
            name = f"{copy:03d}-{path.rsplit('/', 1)[-1]}"
            store.write_bytes(f"raw/{source}/{name}", encoded(texts, name))
            batches += batches_of(texts)
        copy += 1
    return batches


def encoded(texts: list[str], name: str) -> bytes | pa.Buffer:
    """Documents in the format that the name asks for, as the samples have them."""
    if name.endswith(".parquet"):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"text": texts}), sink, compression="zstd")
        return sink.getvalue()
    if name.endswith(".jsonl.zst"):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        return pa.compress(lines.encode(), codec="zstd", asbytes=True)
    assert name.endswith(".txt") and len(texts) == 1, f"{name}: {len(texts)} documents"
    return texts[0].encode()


def batches_of(texts: list[str]) -> Iterator[list[str]]:
    """An object's documents in batches as the ingest encodes them."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def sample_of(batches: list[list[str]], characters: int) -> list[list[str]]:
    """Some of the batches, from all over."""
    chosen: list[list[str]] = []
    for batch in random.Random(0).sample(batches, len(batches)):
        if sum(len(text) for item in chosen for text in item) >= characters:
            break
        chosen.append(batch)
    return chosen


def run_ingest(store: Store, model: Path, pattern: str, name: str) -> int:
    """Ingest what a pattern names; returns the tokens of the texts, without separators."""
    asked = Ingest(store, [SourceSpec(name, (pattern,))], str(model), SEPARATOR, 0.0, "stop")
    manifest = asked.run(lambda line: None)[name]
    assert set(manifest.tokenizers) == {"fastokens"}, f"encoded by {manifest.tokenizers}"
    return manifest.train_tokens - manifest.train_documents


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--megabytes", type=float, default=100.0, help="text, at least")
    options.add_argument("--slow-megabytes", type=float, default=4.0, help="for Hugging Face's")
    options.add_argument("--cpus", type=int, default=2, help="cores of each side")
    options.add_argument("--rounds", type=int, default=3, help="times that each side runs")
    chosen = parse(options)
    definition, cpus = chosen.model / "tokenizer.json", chosen.cpus
    with temporary_store() as store:
        batches = write_raw(store, chosen.samples, int(chosen.megabytes * 1e6))
        some = sample_of(batches, int(chosen.slow_megabytes * 1e6))
        for number in range(cpus):
            store.write_bytes(f"tiny/{number}.txt", f"One short line, number {number}.".encode())
        bare = {
            f"fastokens alone, {cpus} processes": Encoders(
                "fastokens", definition, batches, cpus, 1
            ),
            f"fastokens alone, {cpus} threads": Encoders("fastokens", definition, batches, 1, cpus),
        }
        slow = Encoders("transformers", definition, some, cpus, 1)
        runs: dict[str, list[tuple[int, float]]] = {}
        starts: list[float] = []
        with local_ray(cpus):
            run_ingest(store, chosen.model, "tiny", "first")  # Imports, once per process.
            for number in range(chosen.rounds):
                for name, encoders in bare.items():
                    runs.setdefault(name, []).append(encoders.run())
                tiny = timed(lambda n=number: run_ingest(store, chosen.model, "tiny", f"tiny{n}"))
                starts.append(tiny[1])
                whole = timed(lambda n=number: run_ingest(store, chosen.model, "raw", f"raw{n}"))
                runs.setdefault("ingest", []).append(whole)
                runs.setdefault("slow", []).append(slow.run())
        for encoders in (*bare.values(), slow):
            encoders.close()
    report(runs, median(starts), list(bare), cpus)
    characters = sum(len(text) for batch in batches for text in batch)
    print(f"\n{characters / 1e6:.0f} million characters; medians of {chosen.rounds}; {machine()}")


def report(
    runs: dict[str, list[tuple[int, float]]], start: float, bare: list[str], cpus: int
) -> None:
    """Print the table."""
    tokens = {name: found[0][0] for name, found in runs.items()}
    seconds = {name: median(second for _, second in found) for name, found in runs.items()}
    for name in bare:
        assert tokens[name] == tokens["ingest"], f"{name}: {tokens[name]}, not {tokens['ingest']}"
    rates = {name: tokens[name] / seconds[name] for name in runs}
    whole = seconds["ingest"]
    sides = [
        ("ingest, raw files to committed shards", whole, rates["ingest"]),
        ("- without its start", whole - start, tokens["ingest"] / (whole - start)),
        *((name, seconds[name], rates[name]) for name in bare),
        (f"Hugging Face alone, {cpus} processes (a sample)", seconds["slow"], rates["slow"]),
    ]
    best = max(rates[name] for name in bare)
    rows = [
        (name, f"{spent:.2f}", f"{rate:,.0f}", f"{rate / best:.2f}", f"{rate / rates['slow']:.1f}")
        for name, spent, rate in sides
    ]
    rows.insert(2, ("- its start: actors, tokenizer", f"{start:.2f}", "-", "-", "-"))
    print(table(("", "seconds", "tokens/s", "of fastokens", "of Hugging Face"), rows))


if __name__ == "__main__":
    main()
