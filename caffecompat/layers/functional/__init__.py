"""The pure torch functions behind the layers; these modules import torch alone."""
