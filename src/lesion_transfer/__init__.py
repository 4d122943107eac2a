"""Transfer-learning experiments on skin-lesion images, tracked with MLflow."""

__version__ = "0.1.0"
