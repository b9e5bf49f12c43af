#!/usr/bin/env python3
"""Writes tests/golden/events.tfevents, which tests/unit/test_export.c compares with: the records of the `tensorboard` package
itself (pip install tensorboard), for the values that the test writes."""

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

Value = summary_pb2.Summary.Value
PNG = bytes.fromhex("89504e470d0a1a0a")
TEXT = tensor_pb2.TensorProto(
    dtype=types_pb2.DT_STRING,
    tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)]),
    string_val=["**bold** ü\n".encode()],
)
PLUGIN = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="text"))
VALUES = [
    (1.5, 20, Value(tag="training/loss", simple_value=0.25)),
    (1.6e9, 300, Value(tag="training/gradient_norm", simple_value=float("inf"))),
    (2.5, 1 << 40, Value(tag="samples", image=summary_pb2.Summary.Image(
        height=260, width=7, colorspace=3, encoded_image_string=PNG))),
    (3.5, 1, Value(tag="configuration", tensor=TEXT, metadata=PLUGIN)),
]

with open("tests/golden/events.tfevents", "wb") as file:
    records = RecordWriter(file)
    records.write(event_pb2.Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString())
    for wall, step, value in VALUES:
        event = event_pb2.Event(wall_time=wall, step=step, summary=summary_pb2.Summary(value=[value]))
        records.write(event.SerializeToString(deterministic=True))
