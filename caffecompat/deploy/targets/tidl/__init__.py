"""TI's TIDL: tables of its limits, and the passes that bring a graph within them."""
