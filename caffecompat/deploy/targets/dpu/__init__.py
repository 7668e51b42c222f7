"""AMD's DPU (Vitis AI): tables of its limits, and the passes that bring a graph within them."""
