"""The verbs: one module each, of which `add_flags` adds the flags and `run` does it; verbs of parts are folders."""
