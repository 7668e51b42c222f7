"""What several verbs share: flags, outputs, progress."""
