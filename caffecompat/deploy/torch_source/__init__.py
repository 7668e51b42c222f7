"""A net as one Python file that needs torch alone."""
