"""The pure torch functions that layers compute with; these modules import torch alone."""
