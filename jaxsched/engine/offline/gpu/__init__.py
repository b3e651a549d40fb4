"""Strict order as one GPU kernel: a program an instance, which runs in the registers of a warp."""
