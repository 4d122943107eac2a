"""Networks: backbones, their weights, and the SVM head folded in."""
