"""Evaluation: one protocol and one set of metrics for every model, and the networks that judge
samples.
"""

from glf_minimal.evaluation.classifier import Classifier, load_classifier
from glf_minimal.evaluation.evaluate import Protocol, compare, evaluate, generate, learning_curve
from glf_minimal.evaluation.features import (
    InceptionFeatures,
    as_uint8,
    extract,
    folder_batches,
    image_batches,
)
from glf_minimal.evaluation.frechet import (
    Moments,
    TooFewSamples,
    bootstrap_standard_error,
    frechet_distance,
    frechet_from_features,
)
from glf_minimal.evaluation.metrics import (
    bits_per_dim,
    fcd,
    fid,
    fsd,
    gaussianity,
    kernel_distance,
    precision_recall,
    reconstruction_errors,
)
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures

__all__ = [
    "Classifier",
    "InceptionFeatures",
    "SqueezeNetFeatures",
    "fcd",
    "fsd",
    "Moments",
    "Protocol",
    "TooFewSamples",
    "as_uint8",
    "bits_per_dim",
    "bootstrap_standard_error",
    "compare",
    "evaluate",
    "extract",
    "fid",
    "folder_batches",
    "frechet_distance",
    "frechet_from_features",
    "gaussianity",
    "generate",
    "image_batches",
    "kernel_distance",
    "learning_curve",
    "load_classifier",
    "precision_recall",
    "reconstruction_errors",
]
