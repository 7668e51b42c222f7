"""How far apart two arrays, blobs and nets are: one rule for every verb that compares."""
