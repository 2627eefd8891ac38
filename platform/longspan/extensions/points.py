"""The four extension points."""

from __future__ import annotations

from longspan.extensions.point import ExtensionPoint

POSITION_ENCODINGS = ExtensionPoint(
    what="position encoding",
    group="longspan.position_encodings",
    base="longspan.model.encodings:PositionEncoding",
    methods={"rope_parameters": ("base", "factor", "original_window")},
    builtin={
        "none": None,
        "pi": "longspan.model.encodings:PositionInterpolation",
        "abf": "longspan.model.encodings:AdjustedBaseFrequency",
        "yarn": "longspan.model.encodings:Yarn",
        "xpos_abf": None,
    },
    takes_options=False,
)

CORPUS_FORMATS = ExtensionPoint(
    what="corpus format",
    group="longspan.corpus_formats",
    base="longspan.corpus.format:CorpusFormat",
    methods={"read": ("stream", "object_path")},
    builtin=dict.fromkeys(("auto", "parquet", "jsonl", "text", "text_blocks", "chat")),
)

TRACKERS = ExtensionPoint(
    what="tracker",
    group="longspan.trackers",
    methods={"log": ("record",), "close": ()},
    builtin={
        "tensorboard": "longspan.observe.trackers.tensorboard:TensorBoardTracker",
        "wandb": "longspan.observe.trackers.wandb:WandbTracker",
        "mlflow": "longspan.observe.trackers.mlflow:MlflowTracker",
        "trackio": "longspan.observe.trackers.trackio:TrackioTracker",
    },
)

CALLBACKS = ExtensionPoint(
    what="callback",
    group="longspan.callbacks",
    base="longspan.train.callback:Callback",
    methods={
        "on_start": ("training",),
        "on_update": ("training", "update"),
        "on_end": ("training",),
    },
)
