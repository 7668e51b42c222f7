"""Lists of published data sets as they lie on disk after unpacking: one module a data set."""
